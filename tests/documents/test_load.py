"""The limit of concurrent uploads."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from httpx import AsyncClient, Response

from app.core.caller_limits import CallerLimits
from app.core.storage import Storage
from tests.support.document_forms import END_OF_FORM, START_OF_FORM
from tests.support.factories import make_document
from tests.support.multipart import FORM_HEADERS

pytestmark = pytest.mark.private_database


async def stream_paused_form(
    has_started: asyncio.Event, may_finish: asyncio.Event
) -> AsyncIterator[bytes]:
    """Yield the start of a form, and the rest once `may_finish` is set."""
    yield START_OF_FORM + b"first bytes"
    # The service asks for the next chunk only after it has processed the first.
    has_started.set()
    await may_finish.wait()
    yield END_OF_FORM


async def test_uploads_above_the_limit_get_503_and_succeed_when_others_have_finished(
    client: AsyncClient, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = CallerLimits("uploads", total=2, per_network=3, per_user=3)
    monkeypatch.setattr(storage, "upload_limits", limits)
    may_finish = asyncio.Event()
    start_events = [asyncio.Event() for _ in range(2)]

    async def upload_slowly(has_started: asyncio.Event) -> Response:
        form = stream_paused_form(has_started, may_finish)
        return await client.post("/documents", content=form, headers=FORM_HEADERS)

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        uploads = [group.create_task(upload_slowly(event)) for event in start_events]
        for event in start_events:
            await event.wait()
        refused = await client.post("/documents", data={"name": "n"}, files={"file": b"x"})
        assert refused.status_code == 503
        assert refused.json()["type"].endswith(":overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        # A document without a file is not an upload.
        await make_document(client)
        may_finish.set()
    assert [upload.result().status_code for upload in uploads] == [201, 201]
    await make_document(client, content=b"small")
