"""The limits of concurrent uploads, and of the parts that they are sending."""

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

import pytest
from httpx import AsyncClient, Response

from app.core.caller_limits import CallerLimits
from app.core.storage import Storage
from app.documents.upload import PART_SIZE, Upload
from app.settings import Settings
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


class CancellingSemaphore(asyncio.Semaphore):
    """Semaphore that cancels a task as soon as somebody has acquired it."""

    task: asyncio.Task[str]

    async def acquire(self) -> Literal[True]:
        await super().acquire()
        asyncio.get_running_loop().call_soon(self.task.cancel)
        return True


async def record_nothing(_multipart_upload_id: str | None) -> bool:
    """Accept the progress of an upload that has no row."""
    return True


async def test_upload_that_is_cancelled_before_it_sends_a_part_lets_others_send_theirs(
    storage: Storage, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = Upload(
        storage,
        f"{settings.s3_prefix}cancelled",
        check_size=lambda _size: None,
        record_progress=record_nothing,
        progress_interval=3600,
    )
    # The first part is full, and is sent.
    await upload.write(bytes(PART_SIZE + 1))
    await upload.wait_for_parts()
    semaphore = CancellingSemaphore(1)
    monkeypatch.setattr(storage, "part_semaphore", semaphore)
    semaphore.task = asyncio.create_task(upload.finish())
    with pytest.raises(asyncio.CancelledError):
        await semaphore.task
    assert not semaphore.locked()
    assert upload.multipart_upload_id is not None
    await storage.abort_multipart_upload(upload.key, upload.multipart_upload_id)
