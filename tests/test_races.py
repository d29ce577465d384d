"""Tests of concurrent requests that change the same rows.

Two instances of the service, which share only the database, serve the requests. A proxy delays the
network by 15 ms in each direction. If the service read a row and then wrote it without a lock,
another request could change the row during these 30 ms.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from random import Random
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from httpx import AsyncClient, Response
from sqlalchemy import text

from app.core.db import Database
from app.core.storage import Storage
from app.users import passwords
from tests.support import servers
from tests.support.accounts import client_of_new_instance
from tests.support.database_activity import COUNT_WAITING_FOR_LOCK, wait_for_query_result
from tests.support.database_proxy import running_database_proxy
from tests.support.factories import Json, make_author, make_book, make_document, make_user
from tests.support.idempotent_requests import POST_OPERATIONS, REPLAYED_HEADER, post_with_key
from tests.support.problems import check_problem, field_error_locations
from tests.support.processes import poll_until
from tests.support.random_rows import BOOK_AUTHOR_IDS, RandomRows
from tests.support.resources import get_resources, replace_resources
from tests.support.responses import get_json
from tests.support.rows import LIST_PATHS, TABLE_NAMES, execute, select_values
from tests.support.settings import make_settings
from tests.support.sort_orders import select_ids_in_order, sort_orders

pytestmark = pytest.mark.private_database

# The delay of the proxy in each direction.
NETWORK_DELAY_SECONDS = 0.015
# The number of requests that a test sends at the same time.
CONCURRENT_REQUESTS = 20

CREATE_FUNCTIONS = {
    "/authors": make_author,
    "/books": make_book,
    "/users": make_user,
    "/documents": make_document,
}
COUNT_ORPHANS = "SELECT count(*) FROM books WHERE author_id NOT IN (SELECT id FROM authors)"
EVERY_RESOURCE = pytest.mark.parametrize("path", CREATE_FUNCTIONS)


@pytest.fixture(scope="module")
async def private_database_url(template_url: str) -> AsyncIterator[str]:
    """The URL of one database for all tests of this module. Each test creates its own rows."""
    async with servers.open_copy(template_url) as url:
        yield url


@pytest.fixture(scope="module")
async def slow_database_url(private_database_url: str) -> AsyncIterator[str]:
    async with running_database_proxy(private_database_url, NETWORK_DELAY_SECONDS) as proxy:
        yield proxy.url


@pytest.fixture(scope="module")
async def clients(slow_database_url: str) -> AsyncIterator[list[AsyncClient]]:
    """Two clients, each of which is connected to another instance of the service."""
    settings = make_settings(slow_database_url, s3_prefix="races/")
    async with AsyncExitStack() as stack:
        # Hash passwords fast. Otherwise concurrent registrations would insert their rows one after
        # the other.
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        monkeypatch.setattr(passwords, "MEMORY_KIB", 64)
        instances = [
            client_of_new_instance(slow_database_url, s3_prefix="races/", db_pool_size=10)
            for _ in range(2)
        ]
        clients = [await stack.enter_async_context(instance) for instance in instances]
        for client in clients:
            storage = Storage(settings)
            stack.callback(storage.close)
            replace_resources(client._transport.app, storage=storage)  # type: ignore[attr-defined]
        yield clients


async def send_concurrently(
    clients: list[AsyncClient], method: str, path: str, requests: list[Json]
) -> list[Response]:
    """Send all requests at the same time, alternately to each client. Return the responses."""
    operations = (
        clients[number % len(clients)].request(method, path, **request)
        for number, request in enumerate(requests)
    )
    return await asyncio.gather(*operations)


def count_statuses(responses: list[Response]) -> dict[int, int]:
    """Return the number of responses with each status, for example `{200: 1, 409: 19}`."""
    return dict(Counter(response.status_code for response in responses))


async def test_only_one_of_concurrent_registrations_with_same_email_succeeds(
    clients: list[AsyncClient], outside_connection: asyncpg.Connection
) -> None:
    for number in range(10):
        spellings = (f"ada{number}@example.com", f"Ada{number}@Example.com")
        responses = await send_concurrently(clients, "POST", "/users", [
            {"json": {"name": f"{n}", "email": spellings[n % 2], "password": "correct horse"}}
            for n in range(CONCURRENT_REQUESTS)
        ])  # fmt: skip
        assert count_statuses(responses) == {201: 1, 409: CONCURRENT_REQUESTS - 1}
        for response in responses:
            if response.status_code == 409:
                assert check_problem(response, 409, "email-taken")["detail"]
        count = "SELECT count(*) FROM users WHERE lower(email) = $1"
        assert await outside_connection.fetchval(count, spellings[0]) == 1


async def test_only_one_of_concurrent_changes_to_same_email_succeeds(
    clients: list[AsyncClient],
) -> None:
    users = [
        await make_user(clients[0], f"user{n}@example.com") for n in range(CONCURRENT_REQUESTS)
    ]
    change = {"json": {"email": "wanted@example.com"}}
    operations = (
        send_concurrently(clients, "PATCH", f"/users/{user['id']}", [change]) for user in users
    )
    responses = [response for [response] in await asyncio.gather(*operations)]
    assert count_statuses(responses) == {200: 1, 409: CONCURRENT_REQUESTS - 1}


@EVERY_RESOURCE
async def test_only_one_of_concurrent_updates_of_same_version_succeeds(
    path: str, clients: list[AsyncClient]
) -> None:
    resource_path = f"{path}/{await create_resource(clients, path)}"
    field = "title" if path == "/books" else "name"
    names = [f"{number}" for number in range(CONCURRENT_REQUESTS)]
    bodies: list[Json] = [{"json": {field: name}} for name in names]
    if path == "/documents":
        # Documents are updated with a form.
        bodies = [{"files": {field: (None, name)}} for name in names]
    etag = (await clients[0].get(resource_path)).headers["etag"]
    requests = [{**body, "headers": {"If-Match": etag}} for body in bodies]
    responses = await send_concurrently(clients, "PATCH", resource_path, requests)
    assert count_statuses(responses) == {200: 1, 412: CONCURRENT_REQUESTS - 1}
    [winner] = [response for response in responses if response.status_code == 200]
    stored = await clients[0].get(resource_path)
    assert stored.headers["etag"] == winner.headers["etag"] == etag.replace('"1', '"2', 1)
    assert stored.json()[field] == winner.json()[field]


async def test_only_one_of_concurrent_file_uploads_succeeds_and_others_leave_no_object(
    clients: list[AsyncClient], outside_connection: asyncpg.Connection
) -> None:
    document = await make_document(clients[0], content=b"old")
    responses = await send_concurrently(clients, "PATCH", f"/documents/{document['id']}", [
        {"files": {"file": ("a.txt", b"new" * n)}, "headers": {"If-Match": '"1"'}}
        for n in range(1, CONCURRENT_REQUESTS + 1)
    ])  # fmt: skip
    assert count_statuses(responses) == {200: 1, 412: CONCURRENT_REQUESTS - 1}
    [winner] = [response.json() for response in responses if response.status_code == 200]
    assert (await get_json(clients[1], f"/documents/{document['id']}"))["sha256"] == winner[
        "sha256"
    ]
    storage: Storage = get_resources(clients[0]._transport.app).storage  # type: ignore[attr-defined]
    keys = {key async for page in storage.list_keys("races/") for key in page}
    stored_objects = await outside_connection.fetch("SELECT key, state FROM stored_objects")
    assert keys == {row["key"] for row in stored_objects}
    assert {row["state"] for row in stored_objects} == {"ready"}


@EVERY_RESOURCE
@pytest.mark.parametrize("is_conditional", [False, True], ids=["any version", "one version"])
async def test_only_one_of_concurrent_deletions_succeeds(
    path: str, is_conditional: bool, clients: list[AsyncClient]
) -> None:
    resource_path = f"{path}/{await create_resource(clients, path)}"
    etag = (await clients[0].get(resource_path)).headers["etag"]
    headers = {"If-Match": etag} if is_conditional else {}
    responses = await send_concurrently(
        clients, "DELETE", resource_path, [{"headers": headers}] * CONCURRENT_REQUESTS
    )
    assert count_statuses(responses) == {204: 1, 404: CONCURRENT_REQUESTS - 1}


async def test_only_one_of_concurrent_updates_and_deletions_of_same_version_succeeds(
    clients: list[AsyncClient],
) -> None:
    for number in range(5):
        resource_path = f"/authors/{await create_resource(clients, '/authors')}"
        operations = [
            send_concurrently(
                clients, method, resource_path, [{**body, "headers": {"If-Match": '"1"'}}] * 10
            )
            for method, body in (("PATCH", {"json": {"name": "changed"}}), ("DELETE", {}))
        ]
        changes, deletions = await asyncio.gather(*(operations if number % 2 else operations[::-1]))
        statuses = count_statuses([*changes, *deletions])
        response = await clients[0].get(resource_path)
        if response.status_code == 404:
            assert statuses.pop(204) == 1
            assert statuses.keys() <= {404, 412}
        else:
            assert statuses == {200: 1, 412: CONCURRENT_REQUESTS - 1}


async def create_resource(clients: list[AsyncClient], path: str) -> Any:
    """Create a resource of the collection at `path`, such as `/authors`, and return its id."""
    other_fields = {"email": f"{uuid4()}@example.com"} if path == "/users" else {}
    return (await CREATE_FUNCTIONS[path](clients[0], **other_fields))["id"]  # type: ignore[operator]


# A book and its author


@pytest.mark.parametrize("first_operation", ["create book", "delete author"])
async def test_second_of_concurrent_book_creation_and_author_deletion_returns_error(
    first_operation: str,
    clients: list[AsyncClient],
    database: Database,
    outside_connection: asyncpg.Connection,
) -> None:
    author_id = await create_resource(clients, "/authors")
    operations = {
        "create book": lambda: clients[0].post(
            "/books", json={"title": "x", "author_id": author_id}
        ),
        "delete author": lambda: clients[1].delete(f"/authors/{author_id}"),
    }
    tasks = {}
    # Both operations wait until this transaction unlocks the author, and then continue in the order
    # in which they were started.
    async with database.transaction() as session:
        await session.execute(
            text("SELECT id FROM authors WHERE id = :id FOR UPDATE"), {"id": author_id}
        )
        for waiting_count, name in enumerate(
            sorted(operations, key=lambda name: name != first_operation), 1
        ):
            tasks[name] = asyncio.create_task(operations[name]())
            await wait_for_query_result(waiting_count, outside_connection, COUNT_WAITING_FOR_LOCK)
    book, deletion = await tasks["create book"], await tasks["delete author"]
    if first_operation == "create book":
        assert book.status_code == 201
        check_problem(deletion, 409, "author-has-books")
    else:
        assert deletion.status_code == 204
        assert field_error_locations(book) == [{"pointer": "/author_id"}]
    assert await outside_connection.fetchval(COUNT_ORPHANS) == 0


async def test_concurrent_book_creations_and_author_deletions_leave_no_orphan(
    clients: list[AsyncClient], outside_connection: asyncpg.Connection
) -> None:
    for number in range(10):
        author_id = await create_resource(clients, "/authors")
        book = {"json": {"title": "x", "author_id": author_id}}
        operations = [
            send_concurrently(clients, "POST", "/books", [book] * 4),
            send_concurrently(clients, "DELETE", f"/authors/{author_id}", [{}] * 2),
        ]
        responses = await asyncio.gather(*(operations if number % 2 else operations[::-1]))
        statuses = count_statuses([response for group in responses for response in group])
        assert statuses in ({204: 1, 404: 1, 422: 4}, {201: 4, 409: 2})
        assert await outside_connection.fetchval(COUNT_ORPHANS) == 0


# Idempotency keys


CREATE_OPERATIONS = [
    name for name in POST_OPERATIONS if name.startswith("create") and name != "create_upload"
]


@pytest.mark.parametrize("operation", CREATE_OPERATIONS)
async def test_concurrent_posts_with_same_idempotency_key_create_one_row(
    operation: str, clients: list[AsyncClient], outside_connection: asyncpg.Connection
) -> None:
    path, request, _ = await POST_OPERATIONS[operation](clients[0])
    count = f"SELECT count(*) FROM {path.split('/')[1]}"
    before = await outside_connection.fetchval(count)

    async def send_until_done(client: AsyncClient) -> Response:
        """Retry while the status is 409, because another request with the key is still running.

        Return the last response.
        """
        responses: list[Response] = []

        async def is_done() -> bool:
            responses.append(await post_with_key(client, path, request, key=operation))
            return responses[-1].status_code != 409

        await poll_until(is_done)
        return responses[-1]

    responses = await asyncio.gather(
        *(send_until_done(clients[n % 2]) for n in range(CONCURRENT_REQUESTS))
    )
    assert count_statuses(responses) == {201: CONCURRENT_REQUESTS}
    assert len({response.content for response in responses}) == 1
    for header in ("etag", "location"):
        assert len({response.headers.get(header) for response in responses}) == 1
    assert (
        sum(REPLAYED_HEADER in response.headers for response in responses)
        == CONCURRENT_REQUESTS - 1
    )
    assert await outside_connection.fetchval(count) == before + 1


# Lists


# The number of rows at the start that stay, and of those that may be deleted.
PERMANENT_ROWS = 60
DELETABLE_ROWS = 40
# The number of tasks that delete and add rows at the same time.
REPLACING_TASKS = 4


@pytest.mark.parametrize("path", LIST_PATHS)
async def test_cursor_pages_contain_each_permanent_row_once_while_others_are_replaced(
    path: str, clients: list[AsyncClient], slow_database_url: str, database: Database
) -> None:
    """Read the list in all sort orders. In most of them many rows have equal or missing keys."""
    table = TABLE_NAMES[path]
    random = Random(path)
    rows = RandomRows(random, path)
    await rows.prepare(database)
    await rows.add(database, PERMANENT_ROWS + DELETABLE_ROWS)
    all_ids = await select_values(database, f"SELECT id FROM {table}")
    deletable_ids = random.sample(
        [id_ for id_ in all_ids if id_ not in BOOK_AUTHOR_IDS], DELETABLE_ROWS
    )
    permanent_ids = {str(id_) for id_ in all_ids} - {str(id_) for id_ in deletable_ids}
    sorts = sort_orders(path)
    # The id of the last row of each page. The cursor of the next page contains its sort keys.
    last_ids: list[str] = []

    slow_database = Database(make_settings(slow_database_url, db_pool_size=REPLACING_TASKS))
    replacing_tasks = [
        asyncio.create_task(replace_rows(slow_database, table, rows, deletable_ids, last_ids))
        for _ in range(REPLACING_TASKS)
    ]
    list_reads = (read_list(clients[n % 2], path, sort, last_ids) for n, sort in enumerate(sorts))
    ids_by_sort = await asyncio.gather(*list_reads)
    deleted_count = DELETABLE_ROWS - len(deletable_ids)
    # `replace_rows` ends when it may not delete any more rows.
    deletable_ids.clear()
    await asyncio.gather(*replacing_tasks)
    await slow_database.close()
    assert deleted_count >= REPLACING_TASKS

    for sort, ids in zip(sorts, ids_by_sort, strict=True):
        ids_in_order = await select_values(database, select_ids_in_order(path, sort))
        expected = [str(id_) for id_ in ids_in_order if str(id_) in permanent_ids]
        assert [id_ for id_ in ids if id_ in permanent_ids] == expected, sort
        assert len(ids) == len(set(ids)), sort


async def read_list(client: AsyncClient, path: str, sort: str, last_ids: list[str]) -> list[str]:
    """Read a whole list page by page with cursors. Return the ids of all rows."""
    ids: list[str] = []
    url: str | None = f"{path}?size=9" + (f"&sort={sort}" if sort else "")
    first = url
    while url is not None:
        page = await get_json(client, url)
        ids += [str(item["id"]) for item in page["items"]]
        last_ids += ids[-1:]
        url = page["next"] and f"{first}&cursor={page['next']}"
    return ids


async def replace_rows(
    database: Database, table: str, rows: RandomRows, deletable_ids: list[Any], last_ids: list[str]
) -> None:
    """Delete and add rows until `deletable_ids` is empty.

    Rows at the end of a recent page are deleted first, because a cursor refers to them.
    """
    while deletable_ids:
        ids_in_cursors = [id_ for id_ in deletable_ids if str(id_) in last_ids[-50:]]
        deleted_id = (ids_in_cursors or deletable_ids)[0]
        deletable_ids.remove(deleted_id)
        await execute(database, f"DELETE FROM {table} WHERE id = :id", {"id": deleted_id})
        await rows.add(database, 1)
