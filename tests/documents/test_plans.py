"""The query plans with which stored objects are found; see `core/test_plans`."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from app.core.db import Database
from app.documents.stored_object_repository import REMOVAL_PAGE_SIZE, StoredObjectRepository
from app.documents.verification._repository import FILE_PAGE_SIZE, VerificationRepository
from tests.support import servers
from tests.support.query_plans import explain
from tests.support.statements import observe_session_statements, wait_for_statement_callbacks

pytestmark = pytest.mark.private_database

FIRST_ID = UUID(int=0)
DOCUMENT_ID = UUID(int=1)
# A backlog of objects, for example after a failure of the store. The first one is of `DOCUMENT_ID`.
_INSERT_ROWS = """
INSERT INTO stored_objects (id, key, state, document_id)
SELECT gen_random_uuid(), 'key ' || n, 'deleting', lpad(to_hex(n), 32, '0')::uuid
FROM generate_series(1, 20000) n
"""
# Documents with files. The id of the first file is `FIRST_ID` plus 1.
_INSERT_FILES = """
INSERT INTO stored_objects (id, key)
SELECT lpad(to_hex(n), 32, '0')::uuid, 'file ' || n FROM generate_series(1, 3000) n;
ANALYZE stored_objects;
INSERT INTO documents (id, name, file_id) SELECT id, key, id FROM stored_objects
WHERE state = 'pending'
"""


@pytest.fixture
async def private_database_url(template_url: str) -> AsyncIterator[str]:
    async with servers.copy_with_rows(template_url, f"{_INSERT_ROWS}; {_INSERT_FILES}") as url:
        yield url


@pytest.mark.parametrize(
    ("document_id", "number_of_rows", "index"),
    [
        (None, REMOVAL_PAGE_SIZE, "ix_stored_objects_deleting_id"),
        (DOCUMENT_ID, 1, "ix_stored_objects_deleting_document_id_id"),
    ],
    ids=["of all documents", "of one document"],
)
async def test_objects_to_remove_are_found_by_an_index_in_their_order(
    database: Database, document_id: UUID | None, number_of_rows: int, index: str
) -> None:
    statements: list[tuple[str, Any]] = []
    repository = StoredObjectRepository(database.writes)
    with observe_session_statements(database, lambda *statement: statements.append(statement)):
        rows = await repository.list_objects_to_remove(FIRST_ID, document_id)
        await wait_for_statement_callbacks()
    assert len(rows) == number_of_rows
    [(statement, parameters)] = statements
    plan = await explain(database, statement, parameters)
    assert f"'Index Name': '{index}'" in str(plan)
    assert "Sort" not in str(plan)


async def test_pages_of_files_are_read_by_indexes_from_the_last_file_on(database: Database) -> None:
    statements: list[tuple[str, Any]] = []
    repository = VerificationRepository(database.reads)
    with observe_session_statements(database, lambda *statement: statements.append(statement)):
        files = await repository.list_files(UUID(int=1500))
        await wait_for_statement_callbacks()
    assert [file.file_id.int for file in files] == list(range(1501, 1501 + FILE_PAGE_SIZE))
    [(statement, parameters)] = statements
    nodes = await explain(database, statement, parameters)
    indexes = {node["Index Name"] for node in nodes if "Index Cond" in node}
    assert indexes == {"uq_documents_file_id", "pk_stored_objects"}
