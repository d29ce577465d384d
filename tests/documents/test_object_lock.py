"""Buckets with Object Lock, which require checksums and keep deleted files."""

from collections.abc import Iterator

import pytest
from httpx import AsyncClient

from app.core.storage._s3_bodies import compute_md5
from app.documents.upload import PART_SIZE
from tests.documents.conftest import UseStore
from tests.support.factories import Json, make_direct_upload, make_document
from tests.support.store_proxy import ProxyAction, StoreProxy
from tests.support.stores import Store, running_moto

BUCKET = "locked"
SMALL_FILE = b"%PDF-1.7 small"
# The service sends this file in two parts.
LARGE_FILE = bytes(PART_SIZE + 1)
RETENTION = {
    "ObjectLockEnabled": "Enabled",
    "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}},
}


@pytest.fixture(scope="module")
def moto() -> Iterator[Store]:
    """A store with a bucket that keeps every object for a day."""
    with running_moto() as store:
        client = store.create_client()
        client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
        client.put_object_lock_configuration(Bucket=BUCKET, ObjectLockConfiguration=RETENTION)
        yield store


@pytest.fixture
def locked_bucket(moto: Store, use_store: UseStore, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Make the service use the bucket with Object Lock."""
    moto.set_credentials(monkeypatch)
    use_store(moto.endpoint, s3_bucket=BUCKET)
    return moto


async def download(document: Json) -> bytes:
    """Return the content of the file of a document."""
    async with AsyncClient() as store_client:
        return (await store_client.get(document["file_url"])).content


@pytest.mark.usefixtures("locked_bucket")
async def test_file_is_stored_in_a_bucket_with_object_lock(client: AsyncClient) -> None:
    document = await make_document(client, content=SMALL_FILE)
    assert await download(document) == SMALL_FILE


async def test_deleted_document_leaves_a_locked_version_of_its_file(
    client: AsyncClient, locked_bucket: Store
) -> None:
    document = await make_document(client, content=SMALL_FILE)
    assert (await client.delete(f"/documents/{document['id']}")).status_code == 204
    store_client = locked_bucket.create_client()
    key = document["file_url"].partition("?")[0].split(f"/{BUCKET}/")[1]
    versions = store_client.list_object_versions(Bucket=BUCKET, Prefix=key)
    assert len(versions["DeleteMarkers"]) == 1
    (version,) = versions["Versions"]
    with pytest.raises(store_client.exceptions.ClientError, match="AccessDenied"):
        store_client.delete_object(Bucket=BUCKET, Key=key, VersionId=version["VersionId"])


@pytest.mark.parametrize("content", [SMALL_FILE, LARGE_FILE], ids=["put", "parts"])
async def test_checksum_is_sent_after_the_store_has_asked_for_one(
    content: bytes, client: AsyncClient, proxy: StoreProxy, use_store: UseStore
) -> None:
    use_store(proxy.origin)
    proxy.set_action(ProxyAction.REQUIRE_CHECKSUM, "PUT")
    assert await download(await make_document(client, content=content)) == content
    proxy.set_action(ProxyAction.REQUIRE_CHECKSUM, "PUT")
    assert await download(await make_document(client, content=content)) == content
    sent_parts = [line for line in proxy.request_lines if line.startswith("PUT")]
    assert len(sent_parts) == len(set(sent_parts))


@pytest.mark.parametrize(("sent_content", "status"), [(SMALL_FILE, 200), (b"%PDF-1.7 smaLL", 400)])
async def test_store_verifies_the_checksum_that_a_client_sends_with_a_part(
    sent_content: bytes, status: int, client: AsyncClient
) -> None:
    document = await make_document(client)
    upload_path = await make_direct_upload(client, f"/documents/{document['id']}", SMALL_FILE)
    part_url = (await client.get(upload_path)).json()["parts"][0]["url"]
    headers = {"Content-MD5": compute_md5(SMALL_FILE)}
    async with AsyncClient() as store_client:
        response = await store_client.put(part_url, content=sent_content, headers=headers)
    assert response.status_code == status
