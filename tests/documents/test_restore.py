"""Restores of the database and of deleted objects, as docs/operations.md describes them."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy.engine import make_url

from app.core.db import Database
from app.core.storage import ObjectVersion, Storage
from app.documents.sweeper import Sweeper
from app.documents.verification import FileUndeleter, FileVerifier, VerifiedPage
from app.embedded.postgresql import get_program_path
from app.settings import Settings
from tests.support import servers, stored_objects
from tests.support.databases import open_database
from tests.support.factories import Json, make_direct_upload, make_document
from tests.support.resources import replace_resources
from tests.support.rows import execute
from tests.support.settings import make_settings
from tests.support.stores import Store, running_moto, running_seaweedfs
from tests.support.verification import get_key, problem_line, verify

pytestmark = pytest.mark.private_database

# Larger than the part of a multipart upload.
LARGE_FILE = Random(1).randbytes(9 * 1024 * 1024)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
# The drill runs on both stores. The other tests take half of the time with one.
ON_SEAWEEDFS = pytest.mark.parametrize(
    "running_store", [running_seaweedfs], ids=["seaweedfs"], indirect=True
)
_AGE_STORED_OBJECTS = "UPDATE stored_objects SET touched_at = touched_at - interval '1 day'"


@pytest.fixture(scope="module", params=[running_seaweedfs, running_moto], ids=["seaweedfs", "moto"])
def running_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store whose bucket keeps the versions of objects."""
    run: Callable[[], AbstractContextManager[Store]] = request.param
    with run() as store:
        store.create_client().put_bucket_versioning(
            Bucket=store.bucket, VersioningConfiguration={"Status": "Enabled"}
        )
        yield store


@pytest.fixture
def store(running_store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store, whose credentials are in the environment."""
    running_store.set_credentials(monkeypatch)
    return running_store


@pytest.fixture
def settings(settings: Settings, store: Store) -> Settings:
    """Settings with the store, and with a key prefix that only this test uses."""
    return settings.model_copy(update={"s3_endpoint_url": store.endpoint})


@pytest.fixture
def storage(settings: Settings) -> Iterator[Storage]:
    """A client of the store."""
    storage = Storage(settings)
    yield storage
    storage.close()


async def download(document: Json) -> bytes:
    async with AsyncClient() as store_client:
        response = await store_client.get(document["file_url"])
    response.raise_for_status()
    return response.content


def back_up(url: str, file: Path) -> None:
    """Write a database to a file."""
    subprocess.run(
        [get_program_path("pg_dump"), "--format=custom", f"--file={file}", url], check=True
    )


@asynccontextmanager
async def restore(file: Path, url: str) -> AsyncIterator[str]:
    """Restore a database from a file under another name. Yield its URL, and drop it at the end."""
    restored_url = servers.with_database_name(url, f"{make_url(url).database}_restored")
    await servers.recreate_database(restored_url)
    subprocess.run(
        [get_program_path("pg_restore"), f"--dbname={restored_url}", str(file)], check=True
    )
    yield restored_url
    await servers.drop_database(restored_url)


async def test_restored_documents_have_all_their_bytes_after_undelete(
    app: FastAPI,
    client: AsyncClient,
    database: Database,
    database_url: str,
    settings: Settings,
    storage: Storage,
    tmp_path: Path,
) -> None:
    await make_document(client, "kept", b"kept")
    deleted = await make_document(client, "deleted", LARGE_FILE)
    replaced = await make_document(client, "replaced", b"before")
    # The restored rows of these are `pending` and `deleting`.
    unfinished = f"/documents/{(await make_document(client, 'without file'))['id']}"
    upload = await make_direct_upload(client, unfinished, b"completed later")
    await make_document(client, "deleted before", b"deleted before")
    await execute(database, "DELETE FROM documents WHERE name = 'deleted before'")
    back_up(database_url, tmp_path / "dump")
    moment = datetime.now(UTC).isoformat()

    await client.delete(f"/documents/{deleted['id']}")
    new_file = {"file": ("new.txt", b"after", "text/plain")}
    await client.patch(f"/documents/{replaced['id']}", files=new_file)
    await make_document(client, "uploaded later", b"uploaded later")
    assert (await client.post(f"{upload}/complete")).is_success
    await Sweeper(database.writes, storage, settings).sweep()

    async with restore(tmp_path / "dump", database_url) as restored_url:
        lost = "".join(problem_line(document, "missing") for document in (deleted, replaced))
        summary = "Files verified: 3, missing or different: 2\n"
        assert await verify(restored_url, settings) == (1, lost, summary)
        result = await verify(restored_url, settings, "--undelete", moment)
        summary = "Files verified: 3, undeleted: 2, missing or different: 0\n"
        assert result == (0, "", summary)

        async with open_database(make_settings(restored_url)) as restored_database:
            replace_resources(app, database=restored_database)
            await execute(restored_database, _AGE_STORED_OBJECTS)
            await Sweeper(restored_database.writes, storage, settings).sweep()
            page = (await client.get("/documents?sort=name")).json()
            contents = [await download(item) for item in page["items"] if item["file_url"]]
            assert contents == [LARGE_FILE, b"kept", b"before"]
            # Besides the restored files, there are two that were uploaded later.
            assert len(await stored_objects.list_keys(storage, settings.s3_prefix)) == 5
        result = await verify(restored_url, settings, "--checksums")
        assert result == (0, "", "Files verified: 3, missing or different: 0\n")


async def lose_file(client: AsyncClient, storage: Storage) -> Json:
    """Create a document, and delete its object. Return the document."""
    document = await make_document(client, content=b"content")
    await storage.delete(get_key(document))
    return document


async def run_undeleter(
    database: Database, storage: Storage, moment: datetime = LONG_AGO
) -> VerifiedPage:
    """Undelete the files that were deleted since the moment. Return the result for one page."""
    undeleter = FileUndeleter(database.reads, storage, moment)
    [page] = [page async for page in FileVerifier(database.reads, storage, undeleter).verify()]
    return page


@ON_SEAWEEDFS
async def test_undelete_restores_only_objects_to_which_a_document_refers(
    client: AsyncClient, database: Database, settings: Settings, storage: Storage
) -> None:
    document = await lose_file(client, storage)
    # One of the other keys begins like that of the document.
    for other_key in (f"{get_key(document)}0", f"{settings.s3_prefix}unknown"):
        await storage.put(other_key, bytearray(b"other"))
        await storage.delete(other_key)
    assert await run_undeleter(database, storage) == VerifiedPage(1, 1, [])
    assert await stored_objects.list_keys(storage, settings.s3_prefix) == [get_key(document)]


@ON_SEAWEEDFS
async def test_undelete_removes_all_markers_of_an_object(
    client: AsyncClient, database: Database, storage: Storage
) -> None:
    document = await lose_file(client, storage)
    await storage.delete(get_key(document))
    assert await run_undeleter(database, storage) == VerifiedPage(1, 1, [])
    assert await download(document) == b"content"


@ON_SEAWEEDFS
async def test_undelete_leaves_object_that_was_deleted_before_the_moment(
    client: AsyncClient, database: Database, storage: Storage
) -> None:
    document = await lose_file(client, storage)
    in_a_minute = datetime.now(UTC) + timedelta(minutes=1)
    page = await run_undeleter(database, storage, in_a_minute)
    assert [problem.reason for problem in page.problems] == ["deleted-earlier"]
    assert (await run_undeleter(database, storage)).undeleted_files == 1
    assert await download(document) == b"content"


@ON_SEAWEEDFS
async def test_undelete_reports_object_without_a_version(
    client: AsyncClient, database: Database, storage: Storage, store: Store
) -> None:
    document = await lose_file(client, storage)
    # A rule of the bucket does this if it deletes noncurrent versions.
    store_client = store.create_client()
    versions = store_client.list_object_versions(Bucket=store.bucket, Prefix=get_key(document))
    [version_id] = [version["VersionId"] for version in versions["Versions"]]
    store_client.delete_object(Bucket=store.bucket, Key=get_key(document), VersionId=version_id)
    page = await run_undeleter(database, storage)
    assert [problem.reason for problem in page.problems] == ["no-version"]


@ON_SEAWEEDFS
async def test_concurrent_undeletes_restore_the_same_files(
    client: AsyncClient, database: Database, storage: Storage
) -> None:
    documents = [await lose_file(client, storage) for _ in range(3)]
    pages = await asyncio.gather(*(run_undeleter(database, storage) for _ in range(2)))
    assert [page.problems for page in pages] == [[], []]
    assert [await download(document) for document in documents] == [b"content"] * 3


@ON_SEAWEEDFS
async def test_undelete_leaves_file_of_document_that_is_deleted_in_the_meantime(
    client: AsyncClient,
    database: Database,
    settings: Settings,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    document = await lose_file(client, storage)
    list_versions = storage.list_versions

    async def delete_document_after_list(key: str) -> list[ObjectVersion]:
        versions = await list_versions(key)
        await client.delete(f"/documents/{document['id']}")
        return versions

    monkeypatch.setattr(storage, "list_versions", delete_document_after_list)
    assert (await run_undeleter(database, storage)).problems == []
    assert await stored_objects.list_keys(storage, settings.s3_prefix) == []
