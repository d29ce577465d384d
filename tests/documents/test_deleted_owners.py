"""A deleted user's documents go at once and their files by the sweeper, whatever is under way."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine

import asyncpg
import pytest
from httpx import AsyncClient

from app.documents.sweeper import SweepResult
from tests.documents.conftest import Age, Stored, Sweep, UseStore
from tests.documents.forms import HEADERS, LARGE, SMALL, form
from tests.support.clients_with_tokens import ClientFactory, current_user_path
from tests.support.database_activity import COUNT_WAITING_FOR_LOCK, wait_for_query_result
from tests.support.factories import make_direct_upload, make_document
from tests.support.problems import check_problem
from tests.support.statements import wait_for_statement_callbacks
from tests.support.store_proxy import ProxyAction, StoreProxy

pytestmark = pytest.mark.private_database

Leave = Callable[[], Coroutine[None, None, None]]

SIZES = pytest.mark.parametrize("size", [SMALL, LARGE], ids=["small", "large"])
# The requests to the store at which nothing but the document's row is left to be written.
LAST = pytest.mark.parametrize(
    ("size", "line"), [(SMALL, "PUT"), (LARGE, "POST .*[?]uploadId")], ids=["small", "large"]
)
MANY = """
INSERT INTO stored_objects (id, key)
SELECT gen_random_uuid(), 'of-nobodys-store/' || n FROM generate_series(1, 10000) n;
INSERT INTO documents (id, name, owner_id, file_id)
SELECT id, 'hers', {}, id FROM stored_objects;
"""
DELETE = "DELETE FROM users WHERE id = $1"
ADD = """
WITH file AS (
    INSERT INTO stored_objects (id, key)
    VALUES (gen_random_uuid(), 'of-nobodys-store') RETURNING id
)
INSERT INTO documents (id, name, owner_id, file_id) SELECT id, 'hers', $1, id FROM file
"""
ANNOUNCED = {"filename": "a.pdf", "content_type": "application/pdf", "size": 3}


@pytest.fixture
async def alice(client_with_role: ClientFactory) -> AsyncClient:
    return await client_with_role("member")


@pytest.fixture
async def account(alice: AsyncClient) -> str:
    """Where she is."""
    return await current_user_path(alice)


@pytest.fixture
def key(account: str) -> int:
    return int(account.rsplit("/", 1)[1])


@pytest.fixture
def leave(client: AsyncClient, account: str) -> Leave:
    """Have her deleted."""

    async def gone() -> None:
        assert (await client.delete(account)).status_code == 204

    return gone


@pytest.fixture
def store(proxy: StoreProxy, use_store: UseStore) -> StoreProxy:
    """What the service has for its store."""
    use_store(proxy.origin)
    return proxy


@pytest.fixture
async def elsewhere(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A second connection, for a transaction that `other` is outside of."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_documents_and_tokens_go_at_once_and_files_with_the_next_sweep(
    client_with_role: ClientFactory,
    alice: AsyncClient,
    account: str,
    outside_connection: asyncpg.Connection,
    stored: Stored,
    sweep: Sweep,
) -> None:
    bob = await client_with_role("member")
    for each in (alice, bob, alice):
        await make_document(each, content=b"a file")
    await make_document(alice, "without a file")
    assert (await alice.delete(account)).status_code == 204
    assert await outside_connection.fetchval("SELECT count(*) FROM documents") == 1
    assert await stored() == ["deleting object", "deleting object", "ready object"]
    check_problem(await alice.get("/documents"), 401, "unauthorized")
    swept = await sweep()
    assert (swept.removed_objects, swept.unknown_keys) == (2, [])
    assert await stored() == ["ready object"]
    assert (await bob.get("/documents")).json()["total"] == 1


async def test_a_deletion_that_is_undone_undoes_all_of_it(
    alice: AsyncClient,
    key: int,
    outside_connection: asyncpg.Connection,
    stored: Stored,
    sweep: Sweep,
) -> None:
    path = f"/documents/{(await make_document(alice, content=b'a file'))['id']}"
    undone = outside_connection.transaction()
    await undone.start()
    await outside_connection.execute(DELETE, key)
    assert await outside_connection.fetchval("SELECT count(*) FROM documents") == 0
    assert await outside_connection.fetch("SELECT FROM stored_objects WHERE state = 'deleting'")
    await undone.rollback()
    assert (await sweep()).removed_objects == 0
    assert await stored() == ["ready object"]
    assert (await alice.get(path)).status_code == 200


async def test_ten_thousand_documents_go_in_one_statement(
    alice: AsyncClient,
    account: str,
    key: int,
    outside_connection: asyncpg.Connection,
    statements: list[str],
) -> None:
    await outside_connection.execute(MANY.format(key))
    await wait_for_statement_callbacks()
    statements.clear()
    assert (await alice.delete(account)).status_code == 204
    await wait_for_statement_callbacks()
    assert len(statements) == 2  # the first asks who she is
    assert await outside_connection.fetchval("SELECT count(*) FROM documents") == 0
    states = "SELECT state, count(*) FROM stored_objects GROUP BY state"
    assert list(map(tuple, await outside_connection.fetch(states))) == [("deleting", 10_000)]


@SIZES
async def test_a_new_documents_upload_is_refused_when_its_user_is_deleted_on_the_way(
    size: int, alice: AsyncClient, leave: Leave, stored: Stored, sweep: Sweep
) -> None:
    answer = await alice.post("/documents", content=form(size, leave, sweep), headers=HEADERS)
    check_problem(answer, 401, "unauthorized")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    await sweep()
    assert await stored() == []


@LAST
async def test_another_files_upload_is_not_found_when_its_user_is_deleted_at_its_end(
    size: int,
    line: str,
    alice: AsyncClient,
    leave: Leave,
    store: StoreProxy,
    stored: Stored,
    sweep: Sweep,
) -> None:
    path = f"/documents/{(await make_document(alice, content=b'old bytes'))['id']}"
    store.set_action(ProxyAction.HOLD_RESPONSE, line)
    asked = asyncio.create_task(alice.patch(path, content=form(size), headers=HEADERS))
    await store.action_reached.wait()
    await leave()
    store.release.set()
    check_problem(await asked, 404, "not-found")
    await sweep()
    assert await stored() == []


async def test_an_upload_waits_for_a_deletion_that_is_not_committed_yet(
    alice: AsyncClient,
    key: int,
    outside_connection: asyncpg.Connection,
    elsewhere: asyncpg.Connection,
    stored: Stored,
) -> None:
    async with elsewhere.transaction():
        await elsewhere.execute(DELETE, key)
        asked = asyncio.create_task(alice.post("/documents", content=form(SMALL), headers=HEADERS))
        await wait_for_query_result(1, outside_connection, COUNT_WAITING_FOR_LOCK)
    check_problem(await asked, 401, "unauthorized")
    assert await stored() == []


async def test_a_deletion_waits_for_a_document_that_is_not_committed_yet(
    leave: Leave,
    key: int,
    outside_connection: asyncpg.Connection,
    elsewhere: asyncpg.Connection,
    stored: Stored,
    sweep: Sweep,
) -> None:
    async with elsewhere.transaction():
        await elsewhere.execute(ADD, key)
        asked = asyncio.create_task(leave())
        await wait_for_query_result(1, outside_connection, COUNT_WAITING_FOR_LOCK)
    await asked
    assert await outside_connection.fetchval("SELECT count(*) FROM documents") == 0
    assert await stored() == ["deleting"]
    assert (await sweep()).removed_objects == 1
    assert await stored() == []


async def test_a_direct_upload_of_a_deleted_user_is_not_completed_and_is_swept_in_its_time(
    client: AsyncClient, alice: AsyncClient, leave: Leave, stored: Stored, age: Age, sweep: Sweep
) -> None:
    path = f"/documents/{(await make_document(alice))['id']}"
    upload = await make_direct_upload(alice, path, b"all of it has arrived")
    await leave()
    check_problem(await alice.post(f"{upload}/complete"), 401, "unauthorized")
    check_problem(await client.post(f"{upload}/complete"), 404, "not-found")
    await age()
    swept = await sweep()
    assert swept == SweepResult(1, 1, 1, [])
    assert await stored() == []


@pytest.mark.parametrize(
    ("where", "line"),
    [("uploads", "POST .*[?]uploads"), ("complete", "POST .*[?]uploadId")],
    ids=["announced", "completed"],
)
async def test_a_direct_upload_is_not_found_when_its_user_is_deleted_while_it_is(
    where: str,
    line: str,
    alice: AsyncClient,
    leave: Leave,
    store: StoreProxy,
    stored: Stored,
    age: Age,
    sweep: Sweep,
) -> None:
    path = f"/documents/{(await make_document(alice))['id']}"
    if where == "complete":
        path = await make_direct_upload(alice, path, b"all of it")
    store.set_action(ProxyAction.HOLD_RESPONSE, line)
    asked = asyncio.create_task(alice.post(f"{path}/{where}", json=ANNOUNCED))
    await store.action_reached.wait()
    await leave()
    store.release.set()
    check_problem(await asked, 404, "not-found")
    await age()
    await sweep()
    assert await stored() == []
