"""Deletion of users: their documents are deleted with them, and the files by the sweeper."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine

import asyncpg
import pytest
from httpx import AsyncClient

from app.documents.sweeper import SweepResult
from tests.documents.conftest import ListObjectStates, MakeObjectsStale, Sweep, UseStore
from tests.support.clients_with_tokens import ClientFactory, current_user_path
from tests.support.database_activity import start_until_blocked
from tests.support.document_forms import LARGE_CHUNK, SMALL_CHUNK, stream_document_form
from tests.support.factories import make_direct_upload, make_document
from tests.support.multipart import FORM_HEADERS
from tests.support.problems import check_problem
from tests.support.statements import wait_for_statement_callbacks
from tests.support.store_proxy import ProxyAction, StoreProxy

pytestmark = pytest.mark.private_database

DeleteAlice = Callable[[], Coroutine[None, None, None]]

CHUNK_SIZES = pytest.mark.parametrize("size", [SMALL_CHUNK, LARGE_CHUNK], ids=["small", "large"])
# The last request to the store before the row of the document is written.
LAST_STORE_REQUESTS = pytest.mark.parametrize(
    ("size", "request_pattern"),
    [(SMALL_CHUNK, "PUT"), (LARGE_CHUNK, "POST .*[?]uploadId")],
    ids=["small", "large"],
)
ADD_MANY_DOCUMENTS = """
INSERT INTO stored_objects (id, key)
SELECT gen_random_uuid(), 'not-in-the-store/' || n FROM generate_series(1, {count}) n;
INSERT INTO documents (id, name, owner_id, file_id)
SELECT id, 'Thesis', {owner_id}, id FROM stored_objects;
"""
# Makes a statement that deletes more than 1000 documents exceed its timeout.
LIMIT_DELETION = """
CREATE FUNCTION limit_deletion() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF (SELECT count(*) FROM deleted) > 1000 THEN RAISE query_canceled; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER limit_deletion AFTER DELETE ON documents REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION limit_deletion();
"""
SET_ROLE = "UPDATE users SET role = 'admin' WHERE id = $1"
COUNT_DOCUMENTS = "SELECT count(*) FROM documents"
DELETE_USER = "DELETE FROM users WHERE id = $1"
ADD_DOCUMENT = """
WITH file AS (
    INSERT INTO stored_objects (id, key)
    VALUES (gen_random_uuid(), 'not-in-the-store') RETURNING id
)
INSERT INTO documents (id, name, owner_id, file_id) SELECT id, 'Thesis', $1, id FROM file
"""
UPLOAD = {"filename": "a.pdf", "content_type": "application/pdf", "size": 3}


@pytest.fixture
async def alice(client_with_role: ClientFactory) -> AsyncClient:
    return await client_with_role("member")


@pytest.fixture
async def alice_path(alice: AsyncClient) -> str:
    """The path of Alice's account: `/users/7`."""
    return await current_user_path(alice)


@pytest.fixture
def alice_id(alice_path: str) -> int:
    return int(alice_path.rsplit("/", 1)[1])


@pytest.fixture
def delete_alice(client: AsyncClient, alice_path: str) -> DeleteAlice:
    """Delete Alice's account, as an admin does."""

    async def delete_account() -> None:
        assert (await client.delete(alice_path)).status_code == 204

    return delete_account


@pytest.fixture
def store_proxy(proxy: StoreProxy, use_store: UseStore) -> StoreProxy:
    """The proxy through which the service sends its requests to the store."""
    use_store(proxy.origin)
    return proxy


@pytest.fixture
async def second_connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection for a transaction that `outside_connection` is not part of."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_deleting_user_deletes_documents_and_tokens_and_the_next_sweep_removes_files(
    client_with_role: ClientFactory,
    alice: AsyncClient,
    delete_alice: DeleteAlice,
    outside_connection: asyncpg.Connection,
    list_object_states: ListObjectStates,
    sweep: Sweep,
) -> None:
    bob = await client_with_role("member")
    for owner in (alice, bob, alice):
        await make_document(owner, content=b"a file")
    await make_document(alice, "without a file")
    await delete_alice()
    assert await outside_connection.fetchval("SELECT count(*) FROM documents") == 1
    assert await list_object_states() == ["deleting object", "deleting object", "ready object"]
    check_problem(await alice.get("/documents"), 401, "unauthorized")
    assert await sweep() == SweepResult(removed_objects=2)
    assert await list_object_states() == ["ready object"]
    assert (await bob.get("/documents")).json()["total"] == 1


async def test_deletion_that_is_rolled_back_keeps_documents_and_files(
    alice: AsyncClient,
    alice_id: int,
    outside_connection: asyncpg.Connection,
    list_object_states: ListObjectStates,
    sweep: Sweep,
) -> None:
    path = f"/documents/{(await make_document(alice, content=b'a file'))['id']}"
    transaction = outside_connection.transaction()
    await transaction.start()
    await outside_connection.execute(DELETE_USER, alice_id)
    assert await outside_connection.fetchval("SELECT count(*) FROM documents") == 0
    assert await outside_connection.fetch("SELECT FROM stored_objects WHERE state = 'deleting'")
    await transaction.rollback()
    assert (await sweep()).removed_objects == 0
    assert await list_object_states() == ["ready object"]
    assert (await alice.get(path)).status_code == 200


async def test_deleting_user_with_1000_documents_takes_one_statement(
    client_with_role: ClientFactory,
    alice_path: str,
    alice_id: int,
    outside_connection: asyncpg.Connection,
    statements: list[str],
) -> None:
    admin = await client_with_role("admin")
    await outside_connection.execute(ADD_MANY_DOCUMENTS.format(count=1000, owner_id=alice_id))
    await wait_for_statement_callbacks()
    statements.clear()
    assert (await admin.delete(alice_path)).status_code == 204
    await wait_for_statement_callbacks()
    assert len(statements) == 2  # find the principal, delete the user
    assert await outside_connection.fetchval(COUNT_DOCUMENTS) == 0


async def test_deleting_user_with_more_documents_than_one_statement_can_delete_succeeds(
    alice: AsyncClient,
    alice_id: int,
    delete_alice: DeleteAlice,
    outside_connection: asyncpg.Connection,
) -> None:
    await outside_connection.execute(ADD_MANY_DOCUMENTS.format(count=2500, owner_id=alice_id))
    await outside_connection.execute(LIMIT_DELETION)
    await delete_alice()
    assert await outside_connection.fetchval(COUNT_DOCUMENTS) == 0
    states = "SELECT state, count(*) FROM stored_objects GROUP BY state"
    assert list(map(tuple, await outside_connection.fetch(states))) == [("deleting", 2500)]
    assert await outside_connection.fetchval("SELECT count(*) FROM document_usage") == 0
    check_problem(await alice.get("/documents"), 401, "unauthorized")


async def test_refused_deletion_of_last_admin_keeps_more_documents_than_a_batch(
    client: AsyncClient, alice_path: str, alice_id: int, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(SET_ROLE, alice_id)
    await outside_connection.execute(ADD_MANY_DOCUMENTS.format(count=1001, owner_id=alice_id))
    check_problem(await client.delete(alice_path), 409, "conflict")
    assert await outside_connection.fetchval(COUNT_DOCUMENTS) == 1001


async def test_deletion_with_stale_version_keeps_more_documents_than_a_batch(
    client: AsyncClient, alice_path: str, alice_id: int, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(ADD_MANY_DOCUMENTS.format(count=1001, owner_id=alice_id))
    response = await client.delete(alice_path, headers={"If-Match": '"99"'})
    check_problem(response, 412, "precondition-failed")
    assert await outside_connection.fetchval(COUNT_DOCUMENTS) == 1001


@CHUNK_SIZES
async def test_creating_document_returns_401_when_user_is_deleted_during_the_upload(
    size: int,
    alice: AsyncClient,
    delete_alice: DeleteAlice,
    list_object_states: ListObjectStates,
    sweep: Sweep,
) -> None:
    response = await alice.post(
        "/documents", content=stream_document_form(size, delete_alice, sweep), headers=FORM_HEADERS
    )
    check_problem(response, 401, "unauthorized")
    assert 'error="invalid_token"' in response.headers["www-authenticate"]
    await sweep()
    assert await list_object_states() == []


@LAST_STORE_REQUESTS
async def test_replacing_file_returns_404_when_user_is_deleted_after_the_upload(
    size: int,
    request_pattern: str,
    alice: AsyncClient,
    delete_alice: DeleteAlice,
    store_proxy: StoreProxy,
    list_object_states: ListObjectStates,
    sweep: Sweep,
) -> None:
    path = f"/documents/{(await make_document(alice, content=b'old bytes'))['id']}"
    store_proxy.set_action(ProxyAction.HOLD_RESPONSE, request_pattern)
    request_task = asyncio.create_task(
        alice.patch(path, content=stream_document_form(size), headers=FORM_HEADERS)
    )
    await store_proxy.action_reached.wait()
    await delete_alice()
    store_proxy.release.set()
    check_problem(await request_task, 404, "not-found")
    await sweep()
    assert await list_object_states() == []


async def test_creating_document_waits_for_uncommitted_deletion_of_its_owner(
    alice: AsyncClient,
    alice_id: int,
    outside_connection: asyncpg.Connection,
    second_connection: asyncpg.Connection,
    list_object_states: ListObjectStates,
) -> None:
    async with second_connection.transaction():
        await second_connection.execute(DELETE_USER, alice_id)
        request_task = await start_until_blocked(
            alice.post(
                "/documents", content=stream_document_form(SMALL_CHUNK), headers=FORM_HEADERS
            ),
            outside_connection,
        )
    check_problem(await request_task, 401, "unauthorized")
    assert await list_object_states() == []


async def test_deleting_user_waits_for_uncommitted_document(
    delete_alice: DeleteAlice,
    alice_id: int,
    outside_connection: asyncpg.Connection,
    second_connection: asyncpg.Connection,
    list_object_states: ListObjectStates,
    sweep: Sweep,
) -> None:
    async with second_connection.transaction():
        await second_connection.execute(ADD_DOCUMENT, alice_id)
        request_task = await start_until_blocked(delete_alice(), outside_connection)
    await request_task
    assert await outside_connection.fetchval("SELECT count(*) FROM documents") == 0
    assert await list_object_states() == ["deleting"]
    assert (await sweep()).removed_objects == 1
    assert await list_object_states() == []


async def test_direct_upload_of_deleted_user_cannot_be_completed_and_expires(
    client: AsyncClient,
    alice: AsyncClient,
    delete_alice: DeleteAlice,
    list_object_states: ListObjectStates,
    make_objects_stale: MakeObjectsStale,
    sweep: Sweep,
) -> None:
    path = f"/documents/{(await make_document(alice))['id']}"
    upload = await make_direct_upload(alice, path, b"complete file")
    await delete_alice()
    check_problem(await alice.post(f"{upload}/complete"), 401, "unauthorized")
    check_problem(await client.post(f"{upload}/complete"), 404, "not-found")
    await make_objects_stale()
    assert await sweep() == SweepResult(1, 1, 1)
    assert await list_object_states() == []


@pytest.mark.parametrize(
    ("operation", "request_pattern"),
    [("uploads", "POST .*[?]uploads"), ("complete", "POST .*[?]uploadId")],
    ids=["create", "complete"],
)
async def test_direct_upload_returns_404_when_user_is_deleted_during_the_request(
    operation: str,
    request_pattern: str,
    alice: AsyncClient,
    delete_alice: DeleteAlice,
    store_proxy: StoreProxy,
    list_object_states: ListObjectStates,
    make_objects_stale: MakeObjectsStale,
    sweep: Sweep,
) -> None:
    path = f"/documents/{(await make_document(alice))['id']}"
    if operation == "complete":
        path = await make_direct_upload(alice, path, b"complete file")
    store_proxy.set_action(ProxyAction.HOLD_RESPONSE, request_pattern)
    request_task = asyncio.create_task(alice.post(f"{path}/{operation}", json=UPLOAD))
    await store_proxy.action_reached.wait()
    await delete_alice()
    store_proxy.release.set()
    check_problem(await request_task, 404, "not-found")
    await make_objects_stale()
    await sweep()
    assert await list_object_states() == []
