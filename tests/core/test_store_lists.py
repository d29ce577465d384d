"""Lists of real stores that have more than one page."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import pytest

from app.core.storage import Storage
from tests.support.settings import make_settings
from tests.support.stored_objects import list_keys, list_multipart_uploads
from tests.support.stores import Store, running_rclone, running_seaweedfs


@pytest.mark.parametrize("running_store", [running_rclone, running_seaweedfs])
async def test_lists_of_several_pages_are_complete(
    running_store: Callable[[], AbstractContextManager[Store]],
    template_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running_store() as store:
        store.set_credentials(monkeypatch)
        settings = make_settings(
            template_url, s3_endpoint_url=store.endpoint, s3_bucket=store.bucket
        )
        storage = Storage(settings)
        # Several multipart uploads have the same key, as after a repeated request.
        upload_ids = {await storage.start_multipart_upload(f"a/{n // 2}") for n in range(7)}
        await storage.start_multipart_upload("b/1")
        keys = [f"a/{n}" for n in range(5)]
        for key in keys:
            await storage.put(key, bytearray(b"content"))

        client = storage._threads._open_store()._client  # type: ignore[attr-defined]
        for operation, limit in (
            ("list_multipart_uploads", "MaxUploads"),
            ("list_objects_v2", "MaxKeys"),
        ):
            list_two = partial(getattr(client, operation), **{limit: 2})
            monkeypatch.setattr(client, operation, list_two)
        listed_uploads = await list_multipart_uploads(storage, "a/")
        assert sorted(upload.id for upload in listed_uploads) == sorted(upload_ids)
        assert await list_keys(storage, "a/") == keys
        storage.close()
