"""What many uploads at a time may cost."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from httpx import AsyncClient, Response

from app.core.storage import _storage as storage
from tests.support.factories import make_document

pytestmark = pytest.mark.private_database

BOUNDARY = "frontier"
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
START = f"""--{BOUNDARY}\r
Content-Disposition: form-data; name="name"\r
\r
slow\r
--{BOUNDARY}\r
Content-Disposition: form-data; name="file"; filename="slow.bin"\r
\r
begins""".encode()
END = f"\r\n--{BOUNDARY}--\r\n".encode()


async def body(started: asyncio.Event, go_on: asyncio.Event) -> AsyncIterator[bytes]:
    yield START
    started.set()  # what came before has been taken: the next chunk is asked for
    await go_on.wait()
    yield END


async def test_more_uploads_than_there_is_memory_for_are_refused(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MAX_CONCURRENT_UPLOADS", 2)
    go_on, started = asyncio.Event(), [asyncio.Event() for _ in range(2)]

    async def slowly(event: asyncio.Event) -> Response:
        return await client.post("/documents", content=body(event, go_on), headers=HEADERS)

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        uploads = [group.create_task(slowly(event)) for event in started]
        for event in started:
            await event.wait()
        refused = await client.post("/documents", data={"name": "n"}, files={"file": b"x"})
        assert refused.status_code == 503
        assert refused.json()["type"].endswith(":overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        await make_document(client)  # without a file it needs no room
        go_on.set()
    assert [upload.result().status_code for upload in uploads] == [201, 201]
    await make_document(client, content=b"there is room again")
