"""Responses of object stores that lack an operation, or respond as other servers do."""

import logging
from collections.abc import AsyncIterator

import pytest

from app.core.storage import Storage, StoreFailed
from app.settings import Settings
from tests.support.store_proxy import ErrorResponse, ProxyAction, StoreProxy, running_store_proxy
from tests.support.stored_objects import list_keys


@pytest.fixture
async def proxy() -> AsyncIterator[StoreProxy]:
    async with running_store_proxy() as store_proxy:
        yield store_proxy


@pytest.fixture
async def storage(settings: Settings, proxy: StoreProxy) -> AsyncIterator[Storage]:
    """The object store behind `proxy`."""
    storage = Storage(settings.model_copy(update={"s3_endpoint_url": proxy.origin}))
    yield storage
    storage.close()


async def test_list_of_another_kind_of_server_names_wrong_settings(
    storage: Storage, proxy: StoreProxy
) -> None:
    proxy.set_action(ErrorResponse(404, "", "<html></html>"), "list-type=2")
    with pytest.raises(StoreFailed) as error_info:
        await list_keys(storage, "a/")
    assert error_info.value.reason.endswith("check S3_BUCKET and S3_ENDPOINT_URL")


async def test_list_of_objects_without_size_is_not_one_of_a_store(
    storage: Storage, proxy: StoreProxy, caplog: pytest.LogCaptureFixture
) -> None:
    objects = "<ListBucketResult><Contents><Key>a/1</Key></Contents></ListBucketResult>"
    proxy.set_action(ErrorResponse(200, "", objects), "list-type=2")
    with pytest.raises(StoreFailed) as error_info:
        await list_keys(storage, "a/")
    assert error_info.value.reason == "S3_ENDPOINT_URL is not the URL of an S3 store"
    assert "(the response lacks Size)" in caplog.text


async def test_store_without_versions_is_not_an_error(
    storage: Storage, proxy: StoreProxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.set_action(ProxyAction.NOT_IMPLEMENTED, "versioning")
    assert not await storage.keeps_versions()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_denied_removal_of_delete_marker_names_its_permission(
    storage: Storage, proxy: StoreProxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.set_action(ProxyAction.ACCESS_DENIED, "versionId")
    with pytest.raises(StoreFailed) as error_info:
        await storage.remove_delete_marker("a/1", "1")
    assert error_info.value.reason.endswith("the permission s3:DeleteObjectVersion")
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "the permission s3:DeleteObjectVersion" in record.getMessage()


async def test_delete_marker_that_another_process_has_removed_is_not_an_error(
    storage: Storage, proxy: StoreProxy
) -> None:
    proxy.set_action(ErrorResponse(404, "NoSuchVersion"), "versionId")
    await storage.remove_delete_marker("a/1", "1")
    assert proxy.action_reached.is_set()
