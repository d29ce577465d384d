"""Idempotency-Key: what is sent again is done once, and answered as it was the first time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response

from app.core.db import Database
from app.core.idempotency import StoredResponseRepository
from tests.authors.test_authors import NOBODY
from tests.support.accounts import client_of_new_instance, log_in, sql_commands
from tests.support.callers import GENERATED_CASES
from tests.support.clients_with_tokens import create_user_with_token
from tests.support.database_proxy import running_database_proxy
from tests.support.entities import ENTITIES
from tests.support.entity_case import EntityCase
from tests.support.factories import (
    make_author,
    make_book,
    make_direct_upload,
    make_document,
    make_user,
)
from tests.support.multipart import FORM_HEADERS, form_body, form_field, form_file, stream_chunks
from tests.support.problems import check_problem, field_error_locations
from tests.support.processes import TIMEOUT_SECONDS, poll_until, running_server
from tests.support.requests import valid_body
from tests.support.resources import get_resources, replace_resources

pytestmark = pytest.mark.private_database

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"
REPLAYED = "idempotency-replayed"
AUTHOR = {"json": {"name": "Ursula K. Le Guin"}}
USER = {"json": {"name": "Ada", "email": "ada@example.com", "password": "correct horse"}}
UPLOAD = {"json": {"filename": "a.pdf", "content_type": "application/pdf", "size": 10}}
COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"  # what the server says of it

Request = dict[str, Any]


async def send(client: AsyncClient, path: str, request: Request, key: str = KEY) -> Response:
    headers = request.get("headers", {}) | {"Idempotency-Key": key}
    return await client.post(path, **{**request, "headers": headers})


def document(name: str = "Notes", content: bytes = b"some bytes") -> Request:
    return {
        "content": form_body(form_field("name", name), form_file(content)),
        "headers": FORM_HEADERS,
    }


async def halting(reached: asyncio.Event, go_on: asyncio.Event) -> AsyncIterator[bytes]:
    """The body of `document`, half of it only when it may go on."""
    body = document()["content"]
    yield body[:50]
    reached.set()
    await go_on.wait()
    yield body[50:]


async def book(client: AsyncClient) -> tuple[str, Request, Request | None]:
    by = (await make_author(client))["id"]
    first, second = ({"json": {"title": title, "author_id": by}} for title in ("Rocannon", "Exile"))
    return "/books", first, second


async def batch(client: AsyncClient) -> tuple[str, Request, Request | None]:
    _, *books = await book(client)
    first, second = ({"json": {"items": [each["json"]]}} for each in books if each)
    return "/books/batch", first, second


async def start(client: AsyncClient) -> tuple[str, Request, Request | None]:
    path = f"/documents/{(await make_document(client))['id']}/uploads"
    return path, UPLOAD, {"json": UPLOAD["json"] | {"size": 11}}


async def complete(client: AsyncClient) -> tuple[str, Request, Request | None]:
    path = f"/documents/{(await make_document(client))['id']}"
    return f"{await make_direct_upload(client, path, b'some bytes')}/complete", {}, None


def plain(path: str, first: Request, second: Request) -> Callable[..., Awaitable[Any]]:
    async def made(_: AsyncClient) -> tuple[str, Request, Request | None]:
        return path, first, second

    return made


def entity(case: EntityCase) -> Callable[..., Awaitable[Any]]:
    async def made(client: AsyncClient) -> tuple[str, Request, Request | None]:
        body = await valid_body(client, case)
        return case.path, {"json": body}, {"json": body | case.update}

    return made


# Of every POST that takes a key: its path, a request, and another one.
POSTS: dict[str, Callable[[AsyncClient], Awaitable[tuple[str, Request, Request | None]]]] = {
    **{f"create_{case.singular}": entity(case) for case in GENERATED_CASES},
    "create_author": plain("/authors", AUTHOR, {"json": {"name": "Octavia E. Butler"}}),
    "create_book": book,
    "create_books": batch,
    "create_user": plain("/users", USER, {"json": USER["json"] | {"password": "battery staple"}}),
    "create_document": plain("/documents", document(), document(content=b"same bytes")),
    "create_upload": start,
    "complete_upload": complete,
}
COUNTS = " + ".join(f"(SELECT count(*) FROM {case.plural})" for case in ENTITIES)
ROWS = (
    f"SELECT {COUNTS} + (SELECT coalesce(sum(version), 0) FROM documents)"
    " + (SELECT count(*) FROM stored_objects WHERE state <> 'deleting')"
)


def assert_replayed(first: Response, second: Response) -> None:
    assert REPLAYED not in first.headers
    assert second.headers[REPLAYED] == "true"
    ours = {REPLAYED, "x-request-id"}
    kept = [{k: v for k, v in each.headers.items() if k not in ours} for each in (first, second)]
    assert kept[0] == kept[1]
    assert (first.status_code, first.content) == (second.status_code, second.content)


async def test_every_post_but_the_log_in_takes_a_key(app: FastAPI) -> None:
    operations = [path["post"] for path in app.openapi()["paths"].values() if "post" in path]
    names = {
        each["operationId"]
        for each in operations
        if any(given["name"] == "Idempotency-Key" for given in each.get("parameters", ()))
    }
    assert names == set(POSTS)
    assert {each["operationId"] for each in operations} == {*names, "create_token"}


async def test_the_document_knows_the_headers_of_what_is_sent_again(app: FastAPI) -> None:
    for path in app.openapi()["paths"].values():
        if path.get("post", {}).get("operationId") in POSTS:
            answers = path["post"]["responses"]
            assert "Retry-After" in answers["409"]["headers"]  # request-in-progress
            for status, answer in answers.items():
                known = {name.lower() for name in answer["headers"]}
                assert (REPLAYED in known) == (status < "500")


@pytest.mark.parametrize("operation", POSTS)
async def test_what_is_sent_twice_is_done_once(
    operation: str, client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    path, request, _ = await POSTS[operation](client)
    first = await send(client, path, request)
    assert first.status_code in {200, 201}, first.text
    there = await outside_connection.fetchval(ROWS)
    assert_replayed(first, await send(client, path, request))
    assert await outside_connection.fetchval(ROWS) == there


@pytest.mark.parametrize("operation", [name for name in POSTS if name != "complete_upload"])
async def test_another_request_with_the_same_key_is_refused(
    operation: str, client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    path, request, another = await POSTS[operation](client)
    assert another
    await send(client, path, request)
    there = await outside_connection.fetchval(ROWS)
    problem = check_problem(await send(client, path, another), 422, "idempotency-key-reused")
    assert [fault["header"] for fault in problem["errors"]] == ["Idempotency-Key"]
    assert await outside_connection.fetchval(ROWS) == there


async def test_another_path_with_the_same_key_is_refused(client: AsyncClient) -> None:
    await send(client, "/authors", AUTHOR)
    check_problem(await send(client, "/users", USER), 422, "idempotency-key-reused")


async def test_the_order_of_a_bodys_fields_makes_no_other_request(client: AsyncClient) -> None:
    swapped = {"json": dict(reversed(USER["json"].items()))}
    assert_replayed(await send(client, "/users", USER), await send(client, "/users", swapped))


# While the first is under way


async def test_while_an_upload_is_under_way_the_same_key_is_in_progress(
    client: AsyncClient,
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    request = {"content": halting(reached, go_on), "headers": FORM_HEADERS}
    first = asyncio.create_task(send(client, "/documents", request))
    await reached.wait()
    second = await send(client, "/documents", document())
    check_problem(second, 409, "request-in-progress")
    assert second.headers["retry-after"] == "1"
    go_on.set()
    assert (await first).status_code == 201
    assert_replayed(await first, await send(client, "/documents", document()))


async def test_of_twenty_at_once_one_is_done_and_all_answers_are_equal(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    answers = await asyncio.gather(*(send(client, "/users", USER) for _ in range(20)))
    made = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.content for answer in made}) == 1
    for answer in answers:
        if answer.status_code != 201:
            check_problem(answer, 409, "request-in-progress")
    assert await outside_connection.fetchval("SELECT count(*) FROM users") == 1


@pytest.mark.parametrize("operation", ["create_author", "create_user", "create_document"])
async def test_processes_at_once_answer_with_what_one_of_them_has_done(
    operation: str, client: AsyncClient, database_url: str, outside_connection: asyncpg.Connection
) -> None:
    path, request, _ = await POSTS[operation](client)
    async with sharing(client, database_url) as clients:
        answers = await asyncio.gather(*(send(each, path, request) for each in clients))
    made = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.content for answer in made}) == 1
    assert all(answer.status_code in {201, 409} for answer in answers)
    assert await outside_connection.fetchval(f"SELECT count(*) FROM {path[1:]}") == 1


@asynccontextmanager
async def sharing(client: AsyncClient, url: str) -> AsyncIterator[list[AsyncClient]]:
    """The service in four processes, as far as what they share tells."""
    app: FastAPI = client._transport.app  # type: ignore[attr-defined]
    async with (
        client_of_new_instance(url) as second,
        client_of_new_instance(url) as third,
        client_of_new_instance(url) as fourth,
    ):
        for each in (second, third, fourth):
            replace_resources(each._transport.app, storage=get_resources(app).storage)  # type: ignore[attr-defined]
        yield [client, second, third, fourth]


async def test_a_process_that_was_first_is_waited_for(
    client: AsyncClient, database_url: str, outside_connection: asyncpg.Connection
) -> None:
    """Both have done everything but to store their answer when the first of them does."""
    transaction = outside_connection.transaction()
    await transaction.start()
    await outside_connection.execute("LOCK TABLE stored_answers IN SHARE ROW EXCLUSIVE MODE")
    async with sharing(client, database_url) as clients:
        waiting = [asyncio.create_task(send(each, "/authors", AUTHOR)) for each in clients[:2]]

        async def both_wait() -> bool:
            waits = "SELECT count(*) = 2 FROM pg_locks WHERE NOT granted AND relation = "
            return bool(await outside_connection.fetchval(f"{waits}'stored_answers'::regclass"))

        await poll_until(both_wait)
        await transaction.rollback()
        first, second = await asyncio.gather(*waiting)
    assert first.status_code == second.status_code == 201
    assert first.content == second.content
    assert {REPLAYED in answer.headers for answer in (first, second)} == {True, False}
    assert await outside_connection.fetchval("SELECT count(*) FROM authors") == 1


# What is stored


async def test_a_refusal_is_an_answer_too(client: AsyncClient) -> None:
    taken = await make_user(client)
    request = {"json": USER["json"] | {"email": taken["email"]}}
    first = await send(client, "/users", request)
    check_problem(first, 409, "email-taken")
    assert (await client.delete(f"/users/{taken['id']}")).status_code == 204
    assert_replayed(first, await send(client, "/users", request))


async def test_a_batch_that_is_refused_says_where_and_again(client: AsyncClient) -> None:
    by = (await make_author(client))["id"]
    items = [{"title": "Lavinia", "author_id": each} for each in (by, NOBODY)]
    first = await send(client, "/books/batch", {"json": {"items": items}})
    assert field_error_locations(first) == [{"pointer": "/items/1/author_id"}]
    assert_replayed(first, await send(client, "/books/batch", {"json": {"items": items}}))
    assert (await client.get("/books")).json()["total"] == 0


async def test_what_is_not_valid_may_be_mended(client: AsyncClient) -> None:
    wrong = await send(client, "/authors", {"json": {"name": ""}})
    check_problem(wrong, 422, "invalid-request")
    assert (await send(client, "/authors", AUTHOR)).status_code == 201


async def test_a_form_that_is_not_valid_may_be_mended(client: AsyncClient) -> None:
    wrong = {"content": form_body(form_field("title", "Notes")), "headers": FORM_HEADERS}
    check_problem(await send(client, "/documents", wrong), 422, "invalid-request")
    assert (await send(client, "/documents", document())).status_code == 201


async def test_a_failure_is_no_answer(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute("ALTER TABLE authors RENAME TO elsewhere")
    check_problem(await send(client, "/authors", AUTHOR), 500, "internal-error")
    await outside_connection.execute("ALTER TABLE elsewhere RENAME TO authors")
    answer = await send(client, "/authors", AUTHOR)
    assert answer.status_code == 201
    assert REPLAYED not in answer.headers


async def test_an_answer_is_stored_with_what_was_written_or_not_at_all(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(
        "CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '53100'; END $$"
    )
    await outside_connection.execute(
        "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON stored_answers "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit()"
    )
    check_problem(await send(client, "/authors", AUTHOR), 503, "overloaded")
    assert await outside_connection.fetchval("SELECT count(*) FROM authors") == 0
    await outside_connection.execute("DROP TRIGGER at_commit ON stored_answers")
    assert (await send(client, "/authors", AUTHOR)).status_code == 201


async def make_a_victim(outside_connection: asyncpg.Connection, condition: str) -> None:
    """From now on a new author is a deadlock's victim while the condition holds."""
    await outside_connection.execute(
        "CREATE FUNCTION be_a_victim() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF {condition} THEN RAISE deadlock_detected; END IF; RETURN NEW; END $$"
    )
    await outside_connection.execute(
        "CREATE TRIGGER be_a_victim BEFORE INSERT ON authors "
        "FOR EACH ROW EXECUTE FUNCTION be_a_victim()"
    )


async def test_a_transaction_that_the_server_has_undone_is_tried_once_more(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute("CREATE SEQUENCE tries")
    await make_a_victim(outside_connection, "nextval('tries') = 1")
    assert (await send(client, "/authors", AUTHOR)).status_code == 201
    assert await outside_connection.fetchval("SELECT last_value FROM tries") == 2


async def test_a_deadlock_twice_is_a_conflict_that_may_be_tried_again(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await make_a_victim(outside_connection, "true")
    check_problem(await send(client, "/authors", AUTHOR), 409, "conflict")
    await outside_connection.execute("DROP TRIGGER be_a_victim ON authors")
    assert (await send(client, "/authors", AUTHOR)).status_code == 201


async def test_neither_the_key_nor_the_password_is_kept(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await send(client, "/users", USER)
    (kept,) = await outside_connection.fetch("SELECT * FROM stored_answers")
    for secret in (KEY, USER["json"]["password"]):
        assert secret.encode() not in b"".join(
            value if isinstance(value, bytes) else str(value).encode() for value in kept.values()
        )


async def test_after_a_day_the_key_is_new_and_the_answer_gone(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    first = await send(client, "/authors", AUTHOR)
    await outside_connection.execute(
        "UPDATE stored_answers SET created_at = created_at - interval '1 day'"
    )
    second = await send(client, "/authors", AUTHOR)
    assert second.status_code == 201
    assert first.json()["id"] != second.json()["id"]
    assert_replayed(second, await send(client, "/authors", AUTHOR))
    assert await StoredResponseRepository(database.writes).delete_expired() == 0
    await outside_connection.execute(
        "UPDATE stored_answers SET created_at = created_at - interval '1 day'"
    )
    assert await StoredResponseRepository(database.writes).delete_expired() == 1


# Whose keys, and which


async def test_a_key_is_the_callers_own(client: AsyncClient, database: Database) -> None:
    members = [(await create_user_with_token(database)).headers for _ in range(2)]
    request = document()
    answers = [
        await send(client, "/documents", {**request, "headers": {**FORM_HEADERS, **headers}})
        for headers in (*members, {})
    ]
    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.json()["id"] for answer in answers}) == 3


async def test_who_may_not_is_told_so_and_nothing_is_kept(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    member = {**AUTHOR, "headers": (await create_user_with_token(database)).headers}
    check_problem(await send(client, "/authors", member), 403, "forbidden")
    assert await outside_connection.fetchval("SELECT count(*) FROM stored_answers") == 0


@pytest.mark.parametrize(
    ("one", "same"), [("abc", '"abc"'), ("a'b,c", '"a\'b,c"'), ('a"b\\c', '"a\\"b\\\\c"')]
)
async def test_a_key_may_be_quoted(one: str, same: str, client: AsyncClient) -> None:
    first, second = [await send(client, "/authors", AUTHOR, key) for key in (one, same)]
    assert_replayed(first, second)


async def test_the_longest_key_is_taken(client: AsyncClient) -> None:
    assert (await send(client, "/authors", AUTHOR, "k" * 255)).status_code == 201


@pytest.mark.parametrize(
    "key", ["", '""', '"', '"a', "a b", '"a b"', "ä", "k" * 256, f'"{"k" * 256}"', '"a\\b"', '"a"b']
)
async def test_what_is_no_key_is_refused(key: str, client: AsyncClient) -> None:
    headers = [(b"Idempotency-Key", key.encode())]
    answer = await client.post("/authors", json=AUTHOR["json"], headers=headers)
    problem = check_problem(answer, 422, "invalid-request")
    assert problem["errors"][0]["header"] == "Idempotency-Key"


async def test_two_keys_are_none(client: AsyncClient) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await client.post("/authors", json=AUTHOR["json"], headers=headers)
    check_problem(answer, 422, "invalid-request")


async def test_a_log_in_takes_no_key(client: AsyncClient) -> None:
    user = await make_user(client)
    tokens = []
    for _ in range(2):
        data = {"username": user["email"], "password": "correct horse"}
        answer = await client.post("/tokens", data=data, headers={"Idempotency-Key": KEY})
        tokens.append(answer.json()["access_token"])
    assert tokens[0] != tokens[1]
    assert (await log_in(client)).status_code == 201


# What it costs


async def test_a_replay_is_one_statement_and_a_key_two_beside_the_write(
    client: AsyncClient, statements: list[str]
) -> None:
    statements.clear()
    await send(client, "/authors", AUTHOR)
    assert sql_commands(statements) == ["SELECT", "WITH", "INSERT"]
    statements.clear()
    await send(client, "/authors", AUTHOR)
    assert sql_commands(statements) == ["SELECT"]


async def test_no_connection_is_held_while_bytes_flow(
    client: AsyncClient, database: Database
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    request = {"content": halting(reached, go_on), "headers": FORM_HEADERS}
    first = asyncio.create_task(send(client, "/documents", request))
    await reached.wait()
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    go_on.set()
    assert (await first).status_code == 201


async def test_an_upload_that_is_sent_again_leaves_nothing_in_the_store(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    for _ in range(2):
        body = {"content": stream_chunks(document()["content"]), "headers": FORM_HEADERS}
        assert (await send(client, "/documents", body)).status_code == 201
    assert await outside_connection.fetchval("SELECT count(*) FROM stored_objects") == 1


# A crash


async def test_killed_between_commit_and_answer_a_retry_gets_the_first_answer(
    private_database_url: str,
) -> None:
    path = "/books"
    async with (
        running_database_proxy(private_database_url) as wire,
        running_server(DATABASE_URL=wire.url) as (process, origin),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        request = {"json": {"title": "Lavinia", "author_id": (await make_author(client))["id"]}}
        wire.block_at_response(COMMITTED)
        asked = asyncio.ensure_future(send(client, path, request))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await wire.response_intercepted.wait()
        process.kill()
        await process.wait()
        await asyncio.wait([asked])
        assert asked.exception() is not None
    async with (
        running_server(DATABASE_URL=private_database_url) as (_, origin),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        retried = await send(client, path, request)
        assert (retried.status_code, retried.headers[REPLAYED]) == (201, "true")
        assert (await client.get(retried.headers["location"])).json() == retried.json()
        assert (await client.get(path)).json()["total"] == 1
        assert (await make_book(client))["id"] != retried.json()["id"]
