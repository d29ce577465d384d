"""The service of documents without HTTP: plain values in, and files removed after the commit."""

from uuid import UUID, uuid4

import pytest
from httpx import AsyncClient

from app.core.access import Principal
from app.core.db import Database, Session
from app.core.storage import Storage
from app.documents.errors import UploadExpired
from app.documents.lifecycle import FileLifecycle
from app.documents.schemas import DocumentCreate, DocumentUpdate, StoredFile
from app.documents.service import DocumentService
from app.settings import Settings
from tests.documents.conftest import Stored
from tests.support.factories import make_document

pytestmark = pytest.mark.private_database


class Undo(Exception):
    """Ends a transaction without a commit."""


@pytest.fixture
def files(database: Database, storage: Storage, settings: Settings) -> FileLifecycle:
    return FileLifecycle(database.writes, storage, settings)


def service(session: Session, files: FileLifecycle) -> DocumentService:
    return DocumentService(session, files, Principal("full"))


async def test_create_takes_plain_values_and_returns_the_document(
    database: Database, files: FileLifecycle
) -> None:
    documents = service(database.writes, files)
    created = await documents.create(DocumentCreate(name="Thesis"))
    assert (created.name, created.file_url) == ("Thesis", None)
    assert await documents.get(created.id) == created


async def test_update_without_changes_keeps_the_version(
    database: Database, files: FileLifecycle
) -> None:
    documents = service(database.writes, files)
    created = await documents.create(DocumentCreate(name="Thesis"))
    assert await documents.update(created.id, DocumentUpdate()) == created


async def test_create_with_a_file_that_has_no_row_raises_upload_expired(
    database: Database, files: FileLifecycle
) -> None:
    file = StoredFile(uuid4(), "a.txt", "text/plain", size=1, sha256=None)
    with pytest.raises(UploadExpired):
        await service(database.writes, files).create(DocumentCreate("Thesis", file))


async def test_delete_in_a_transaction_removes_the_file_after_the_commit(
    client: AsyncClient, database: Database, files: FileLifecycle, stored: Stored
) -> None:
    document_id = UUID((await make_document(client, content=b"bytes"))["id"])
    async with database.transaction() as session:
        await service(session, files).delete(document_id)
        await database.wait_for_callbacks()
        assert await stored() == ["ready object"]
    await database.wait_for_callbacks()
    assert await stored() == []


async def test_delete_in_a_transaction_that_fails_keeps_the_file(
    client: AsyncClient, database: Database, files: FileLifecycle, stored: Stored
) -> None:
    document_id = UUID((await make_document(client, content=b"bytes"))["id"])

    async def delete_and_fail() -> None:
        async with database.transaction() as session:
            await service(session, files).delete(document_id)
            raise Undo

    with pytest.raises(Undo):
        await delete_and_fail()
    await database.wait_for_callbacks()
    assert await stored() == ["ready object"]
