"""Requests at once: the database decides between them, however late each hears of the others.

Two processes' worth of the service, which share nothing but the database, are 15 ms away from it
in either direction: what looks first and writes then has 30 ms in which it is wrong.
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
from tests.conftest import make_settings
from tests.core.test_cursor_walks import MIXED_SORT_ORDERS, order_by_sql
from tests.core.test_idempotency import POSTS, REPLAYED, send
from tests.support import servers
from tests.support.accounts import client_of_new_instance
from tests.support.database_activity import COUNT_WAITING_FOR_LOCK, wait_for_query_result
from tests.support.database_proxy import running_database_proxy
from tests.support.factories import make_author, make_book, make_document, make_user
from tests.support.problems import check_problem, field_error_locations
from tests.support.processes import poll_until as eventually
from tests.support.random_rows import BOOK_AUTHOR_IDS, RandomRows
from tests.support.resources import get_resources, replace_resources
from tests.support.responses import get_json
from tests.support.rows import (
    AUTHOR_BOOKS_PATH,
    AUTHOR_ID,
    LIST_PATHS,
    SORT_KEYS,
    TABLE_NAMES,
    execute,
    select_values,
)

pytestmark = pytest.mark.private_database

DELAY = 0.015  # seconds, in either direction
TWENTY = 20
Json = dict[str, Any]

MAKERS = {
    "/authors": make_author,
    "/books": make_book,
    "/users": make_user,
    "/documents": make_document,
}
ORPHANS = "SELECT count(*) FROM books WHERE author_id NOT IN (SELECT id FROM authors)"
RESOURCES = pytest.mark.parametrize("path", MAKERS)


@pytest.fixture(scope="module")
async def private_database_url(template_url: str) -> AsyncIterator[str]:
    """One for all races: each has rows of its own."""
    url = await servers.copy_database(template_url, "races")
    yield url
    await servers.drop_database(url)


@pytest.fixture(scope="module")
async def far_url(private_database_url: str) -> AsyncIterator[str]:
    async with running_database_proxy(private_database_url, DELAY) as wire:
        yield wire.url


@pytest.fixture(scope="module")
async def service(far_url: str) -> AsyncIterator[list[AsyncClient]]:
    """Clients of two processes' worth of it."""
    settings = make_settings(far_url, s3_prefix="races/")
    async with AsyncExitStack() as stack:
        # Hashes of full strength, one after the other, would keep registrations apart.
        weak = stack.enter_context(pytest.MonkeyPatch.context())
        weak.setattr(passwords, "MEMORY_KIB", 64)
        processes = [
            client_of_new_instance(far_url, s3_prefix="races/", db_pool_size=10) for _ in range(2)
        ]
        clients = [await stack.enter_async_context(process) for process in processes]
        for client in clients:
            storage = Storage(settings)
            stack.callback(storage.close)
            replace_resources(client._transport.app, storage=storage)  # type: ignore[attr-defined]
        yield clients


async def at_once(
    service: list[AsyncClient], method: str, path: str, requests: list[Json]
) -> list[Response]:
    """The answers to all of the requests, of which each process gets every other."""
    asked = (
        service[number % len(service)].request(method, path, **request)
        for number, request in enumerate(requests)
    )
    return await asyncio.gather(*asked)


def statuses(answers: list[Response]) -> dict[int, int]:
    return dict(Counter(answer.status_code for answer in answers))


async def test_one_of_concurrent_registrations_with_same_email_succeeds(
    service: list[AsyncClient], outside_connection: asyncpg.Connection
) -> None:
    for number in range(10):
        spelled = (f"ada{number}@example.com", f"Ada{number}@Example.com")
        answers = await at_once(service, "POST", "/users", [
            {"json": {"name": f"{n}", "email": spelled[n % 2], "password": "correct horse"}}
            for n in range(TWENTY)
        ])  # fmt: skip
        assert statuses(answers) == {201: 1, 409: TWENTY - 1}
        for answer in answers:
            if answer.status_code == 409:
                assert check_problem(answer, 409, "email-taken")["detail"]
        count = "SELECT count(*) FROM users WHERE lower(email) = $1"
        assert await outside_connection.fetchval(count, spelled[0]) == 1


async def test_one_of_concurrent_changes_to_same_email_succeeds(service: list[AsyncClient]) -> None:
    users = [await make_user(service[0], f"user{n}@example.com") for n in range(TWENTY)]
    change = {"json": {"email": "wanted@example.com"}}
    asked = (at_once(service, "PATCH", f"/users/{user['id']}", [change]) for user in users)
    answers = [answer for [answer] in await asyncio.gather(*asked)]
    assert statuses(answers) == {200: 1, 409: TWENTY - 1}


@RESOURCES
async def test_one_of_concurrent_updates_of_same_version_succeeds(
    path: str, service: list[AsyncClient]
) -> None:
    place = f"{path}/{await made(service, path)}"
    field = "title" if path == "/books" else "name"
    kind = (lambda each: {"files": {field: (None, each)}}) if path == "/documents" else None
    names = [f"{number}" for number in range(TWENTY)]
    first = (await service[0].get(place)).headers["etag"]
    answers = await at_once(service, "PATCH", place, [
        {**(kind(name) if kind else {"json": {field: name}}), "headers": {"If-Match": first}}
        for name in names
    ])  # fmt: skip
    assert statuses(answers) == {200: 1, 412: TWENTY - 1}
    [winner] = [answer for answer in answers if answer.status_code == 200]
    there = await service[0].get(place)
    assert there.headers["etag"] == winner.headers["etag"] == first.replace('"1', '"2', 1)
    assert there.json()[field] == winner.json()[field]


async def test_one_of_concurrent_file_replacements_succeeds_and_others_leave_no_object(
    service: list[AsyncClient], outside_connection: asyncpg.Connection
) -> None:
    made = await make_document(service[0], content=b"old")
    answers = await at_once(service, "PATCH", f"/documents/{made['id']}", [
        {"files": {"file": ("a.txt", b"new" * n)}, "headers": {"If-Match": '"1"'}}
        for n in range(1, TWENTY + 1)
    ])  # fmt: skip
    assert statuses(answers) == {200: 1, 412: TWENTY - 1}
    [winner] = [answer.json() for answer in answers if answer.status_code == 200]
    assert (await get_json(service[1], f"/documents/{made['id']}"))["sha256"] == winner["sha256"]
    storage: Storage = get_resources(service[0]._transport.app).storage  # type: ignore[attr-defined]
    keys = {key async for page in storage.list_keys("races/") for key in page}
    known = await outside_connection.fetch("SELECT key, state FROM stored_objects")
    assert keys == {row["key"] for row in known}
    assert {row["state"] for row in known} == {"ready"}


@RESOURCES
@pytest.mark.parametrize("is_conditional", [False, True], ids=["any", "one version"])
async def test_one_of_concurrent_deletions_succeeds(
    path: str, is_conditional: bool, service: list[AsyncClient]
) -> None:
    place = f"{path}/{await made(service, path)}"
    first = (await service[0].get(place)).headers["etag"]
    headers = {"If-Match": first} if is_conditional else {}
    answers = await at_once(service, "DELETE", place, [{"headers": headers}] * TWENTY)
    assert statuses(answers) == {204: 1, 404: TWENTY - 1}


async def test_one_of_concurrent_updates_and_deletions_of_same_version_succeeds(
    service: list[AsyncClient],
) -> None:
    for number in range(5):
        place = f"/authors/{await made(service, '/authors')}"
        asked = [
            at_once(service, method, place, [{**body, "headers": {"If-Match": '"1"'}}] * 10)
            for method, body in (("PATCH", {"json": {"name": "changed"}}), ("DELETE", {}))
        ]
        changes, deletions = await asyncio.gather(*(asked if number % 2 else asked[::-1]))
        found = (statuses([*changes, *deletions]), await service[0].get(place))
        if found[1].status_code == 404:
            assert found[0].pop(204) == 1
            assert found[0].keys() <= {404, 412}
        else:
            assert found[0] == {200: 1, 412: TWENTY - 1}


async def made(service: list[AsyncClient], path: str) -> Any:
    """The id of a new resource of its own kind."""
    emails = {"email": f"{uuid4()}@example.com"} if path == "/users" else {}
    return (await MAKERS[path](service[0], **emails))["id"]  # type: ignore[operator]


# A book and its author


@pytest.mark.parametrize("first", ["the book", "the deletion"])
async def test_create_book_and_delete_author_are_serialized_by_the_author_row(
    first: str,
    service: list[AsyncClient],
    database: Database,
    outside_connection: asyncpg.Connection,
) -> None:
    author_id = await made(service, "/authors")
    asked = {
        "the book": lambda: service[0].post("/books", json={"title": "x", "author_id": author_id}),
        "the deletion": lambda: service[1].delete(f"/authors/{author_id}"),
    }
    tasks = {}
    async with database.transaction() as session:  # both wait for this, one after the other
        await session.execute(
            text("SELECT id FROM authors WHERE id = :id FOR UPDATE"), {"id": author_id}
        )
        for number, name in enumerate(sorted(asked, key=lambda each: each != first), 1):
            tasks[name] = asyncio.create_task(asked[name]())
            await wait_for_query_result(number, outside_connection, COUNT_WAITING_FOR_LOCK)
    book, deletion = await tasks["the book"], await tasks["the deletion"]
    if first == "the book":
        assert book.status_code == 201
        check_problem(deletion, 409, "author-has-books")
    else:
        assert deletion.status_code == 204
        assert field_error_locations(book) == [{"pointer": "/author_id"}]
    assert await outside_connection.fetchval(ORPHANS) == 0


async def test_concurrent_books_and_deletions_of_author_never_leave_orphans(
    service: list[AsyncClient], outside_connection: asyncpg.Connection
) -> None:
    for number in range(10):
        author_id = await made(service, "/authors")
        book = {"json": {"title": "x", "author_id": author_id}}
        asked = [
            at_once(service, "POST", "/books", [book] * 4),
            at_once(service, "DELETE", f"/authors/{author_id}", [{}] * 2),
        ]
        answers = await asyncio.gather(*(asked if number % 2 else asked[::-1]))
        found = statuses([answer for each in answers for answer in each])
        assert found in ({204: 1, 404: 1, 422: 4}, {201: 4, 409: 2})
        assert await outside_connection.fetchval(ORPHANS) == 0


# One key


KEYED = [name for name in POSTS if name.startswith("create") and name != "create_upload"]


@pytest.mark.parametrize("operation", KEYED)
async def test_concurrent_posts_with_same_idempotency_key_create_one_row(
    operation: str, service: list[AsyncClient], outside_connection: asyncpg.Connection
) -> None:
    path, request, _ = await POSTS[operation](service[0])
    count = f"SELECT count(*) FROM {path.split('/')[1]}"
    before = await outside_connection.fetchval(count)

    async def insisted(client: AsyncClient) -> Response:
        """What a client gets that asks again for as long as it is told to."""
        answers: list[Response] = []

        async def is_answered() -> bool:
            answers.append(await send(client, path, request, key=operation))
            return answers[-1].status_code != 409

        await eventually(is_answered)
        return answers[-1]

    answers = await asyncio.gather(*(insisted(service[n % 2]) for n in range(TWENTY)))
    assert statuses(answers) == {201: TWENTY}
    for part in ("etag", "location", None):
        equal = {each.headers.get(part) if part else each.content for each in answers}
        assert len(equal) == 1
    assert sum(REPLAYED in answer.headers for answer in answers) == TWENTY - 1
    assert await outside_connection.fetchval(count) == before + 1


# Lists


LASTING, PASSING, CHURNERS = 60, 40, 4


@pytest.mark.parametrize("path", LIST_PATHS)
async def test_cursor_walks_return_each_lasting_row_once_during_writes(
    path: str, service: list[AsyncClient], far_url: str, database: Database
) -> None:
    """All orders at once, in most of which many rows have equal keys or none."""
    table, random = TABLE_NAMES[path], Random(path)
    rows = RandomRows(random, path)
    await rows.prepare(database)
    await rows.add(database, LASTING + PASSING)
    everyone = await select_values(database, f"SELECT id FROM {table}")
    passing = random.sample([id_ for id_ in everyone if id_ not in BOOK_AUTHOR_IDS], PASSING)
    lasting = {str(id_) for id_ in everyone} - {str(id_) for id_ in passing}
    sorts = [
        "",
        *SORT_KEYS[path],
        *(f"-{key}" for key in SORT_KEYS[path]),
        *MIXED_SORT_ORDERS[path],
    ]
    standing: list[str] = []  # the rows that the cursors stood on last

    far = Database(make_settings(far_url, db_pool_size=CHURNERS))
    churning = [
        asyncio.create_task(come_and_go(far, table, rows, passing, standing))
        for _ in range(CHURNERS)
    ]
    walks = (walked(service[n % 2], path, sort, standing) for n, sort in enumerate(sorts))
    walks_seen = await asyncio.gather(*walks)
    gone = PASSING - len(passing)
    passing.clear()  # whoever comes and goes is through
    await asyncio.gather(*churning)
    await far.close()
    assert gone >= CHURNERS

    of_author = f"WHERE author_id = '{AUTHOR_ID}'" if path == AUTHOR_BOOKS_PATH else ""
    for sort, seen in zip(sorts, walks_seen, strict=True):
        order = f"SELECT id FROM {table} {of_author} ORDER BY {order_by_sql(sort)}"
        expected = [str(id_) for id_ in await select_values(database, order) if str(id_) in lasting]
        assert [id_ for id_ in seen if id_ in lasting] == expected, sort
        assert len(seen) == len(set(seen)), sort


async def walked(client: AsyncClient, path: str, sort: str, standing: list[str]) -> list[str]:
    """The ids that a walk through the whole list has seen."""
    seen: list[str] = []
    url: str | None = f"{path}?size=9" + (f"&sort={sort}" if sort else "")
    first = url
    while url is not None:
        page = await get_json(client, url)
        seen += [str(item["id"]) for item in page["items"]]
        standing += seen[-1:]
        url = page["next"] and f"{first}&cursor={page['next']}"
    return seen


async def come_and_go(
    database: Database, table: str, rows: RandomRows, passing: list[Any], standing: list[str]
) -> None:
    """For as long as anybody walks: most often what goes is what some cursor stands on."""
    while passing:
        stood_on = [id_ for id_ in passing if str(id_) in standing[-50:]]
        gone = (stood_on or passing)[0]
        passing.remove(gone)
        await execute(database, f"DELETE FROM {table} WHERE id = :id", {"id": gone})
        await rows.add(database, 1)
