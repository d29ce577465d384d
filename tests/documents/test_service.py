"""`DocumentService` without HTTP."""

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
from tests.documents.conftest import ListObjectStates
from tests.support.factories import make_document

pytestmark = pytest.mark.private_database


class RollBack(Exception):
    """Raised to end a transaction without a commit."""


@pytest.fixture
def lifecycle(database: Database, storage: Storage, settings: Settings) -> FileLifecycle:
    return FileLifecycle(database.writes, storage, settings)


def create_service(session: Session, lifecycle: FileLifecycle) -> DocumentService:
    return DocumentService(session, lifecycle, Principal("full"))


async def test_create_returns_the_new_document(
    database: Database, lifecycle: FileLifecycle
) -> None:
    service = create_service(database.writes, lifecycle)
    created = await service.create(DocumentCreate(name="Thesis"))
    assert (created.name, created.file_url) == ("Thesis", None)
    assert await service.get(created.id) == created


async def test_update_without_changes_keeps_the_version(
    database: Database, lifecycle: FileLifecycle
) -> None:
    service = create_service(database.writes, lifecycle)
    created = await service.create(DocumentCreate(name="Thesis"))
    assert await service.update(created.id, DocumentUpdate()) == created


async def test_create_raises_upload_expired_when_the_file_has_no_row(
    database: Database, lifecycle: FileLifecycle
) -> None:
    file = StoredFile(uuid4(), "a.txt", "text/plain", size=1, sha256=None)
    with pytest.raises(UploadExpired):
        await create_service(database.writes, lifecycle).create(DocumentCreate("Thesis", file))


async def test_delete_removes_the_file_after_the_transaction_is_committed(
    client: AsyncClient,
    database: Database,
    lifecycle: FileLifecycle,
    list_object_states: ListObjectStates,
) -> None:
    document_id = UUID((await make_document(client, content=b"bytes"))["id"])
    async with database.transaction() as session:
        await create_service(session, lifecycle).delete(document_id)
        await database.wait_for_callbacks()
        assert await list_object_states() == ["ready object"]
    await database.wait_for_callbacks()
    assert await list_object_states() == []


async def test_delete_keeps_the_file_when_the_transaction_fails(
    client: AsyncClient,
    database: Database,
    lifecycle: FileLifecycle,
    list_object_states: ListObjectStates,
) -> None:
    document_id = UUID((await make_document(client, content=b"bytes"))["id"])

    async def delete_and_fail() -> None:
        async with database.transaction() as session:
            await create_service(session, lifecycle).delete(document_id)
            raise RollBack

    with pytest.raises(RollBack):
        await delete_and_fail()
    await database.wait_for_callbacks()
    assert await list_object_states() == ["ready object"]
