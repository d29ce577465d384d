"""Idempotency-Key: a retry is executed once, and gets the response of the first request."""

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
from tests.authors.test_authors import UNKNOWN_ID
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
# The message of Postgres after a COMMIT.
COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"

Request = dict[str, Any]


async def send(client: AsyncClient, path: str, request: Request, key: str = KEY) -> Response:
    """Send a POST with an Idempotency-Key. `request` has the arguments of httpx, such as `json`."""
    headers = request.get("headers", {}) | {"Idempotency-Key": key}
    return await client.post(path, **{**request, "headers": headers})


def document(name: str = "Notes", content: bytes = b"some bytes") -> Request:
    """Return the request that creates a document with a file."""
    return {
        "content": form_body(form_field("name", name), form_file(content)),
        "headers": FORM_HEADERS,
    }


async def pausing_body(reached: asyncio.Event, go_on: asyncio.Event) -> AsyncIterator[bytes]:
    """Yield the body of `document()`. After a part of it, set `reached` and wait for `go_on`."""
    body = document()["content"]
    yield body[:50]
    reached.set()
    await go_on.wait()
    yield body[50:]


async def book(client: AsyncClient) -> tuple[str, Request, Request | None]:
    author_id = (await make_author(client))["id"]
    first = {"json": {"title": "Rocannon", "author_id": author_id}}
    second = {"json": {"title": "Exile", "author_id": author_id}}
    return "/books", first, second


async def batch(client: AsyncClient) -> tuple[str, Request, Request | None]:
    _, *books = await book(client)
    first, second = [{"json": {"items": [book["json"]]}} for book in books if book]
    return "/books/batch", first, second


async def start_upload(client: AsyncClient) -> tuple[str, Request, Request | None]:
    path = f"/documents/{(await make_document(client))['id']}/uploads"
    return path, UPLOAD, {"json": UPLOAD["json"] | {"size": 11}}


async def complete_upload(client: AsyncClient) -> tuple[str, Request, Request | None]:
    path = f"/documents/{(await make_document(client))['id']}"
    return f"{await make_direct_upload(client, path, b'some bytes')}/complete", {}, None


def fixed_requests(path: str, first: Request, second: Request) -> Callable[..., Awaitable[Any]]:
    """Return a function for `POSTS` that always returns these requests."""

    async def prepare(_: AsyncClient) -> tuple[str, Request, Request | None]:
        return path, first, second

    return prepare


def entity_requests(case: EntityCase) -> Callable[..., Awaitable[Any]]:
    """Return a function for `POSTS` that prepares the creation of an entity."""

    async def prepare(client: AsyncClient) -> tuple[str, Request, Request | None]:
        body = await valid_body(client, case)
        return case.path, {"json": body}, {"json": body | case.update}

    return prepare


# For each POST that accepts a key, a function that prepares the test and returns the path, a
# request, and a different request to the same path.
POSTS: dict[str, Callable[[AsyncClient], Awaitable[tuple[str, Request, Request | None]]]] = {
    **{f"create_{case.singular}": entity_requests(case) for case in GENERATED_CASES},
    "create_author": fixed_requests("/authors", AUTHOR, {"json": {"name": "Octavia E. Butler"}}),
    "create_book": book,
    "create_books": batch,
    "create_user": fixed_requests(
        "/users", USER, {"json": USER["json"] | {"password": "battery staple"}}
    ),
    "create_document": fixed_requests("/documents", document(), document(content=b"same bytes")),
    "create_upload": start_upload,
    "complete_upload": complete_upload,
}
COUNTS = " + ".join(f"(SELECT count(*) FROM {case.plural})" for case in ENTITIES)
# A number that every write changes.
COUNT_WRITES = (
    f"SELECT {COUNTS} + (SELECT coalesce(sum(version), 0) FROM documents)"
    " + (SELECT count(*) FROM stored_objects WHERE state <> 'deleting')"
)


def assert_replayed(first: Response, second: Response) -> None:
    """Check that the second response is the stored first one."""
    assert REPLAYED not in first.headers
    assert second.headers[REPLAYED] == "true"
    different_headers = {REPLAYED: "true", "x-request-id": second.headers["x-request-id"]}
    assert {**first.headers, **different_headers} == dict(second.headers)
    assert (first.status_code, first.content) == (second.status_code, second.content)


async def test_every_post_except_login_accepts_key(app: FastAPI) -> None:
    operations = [path["post"] for path in app.openapi()["paths"].values() if "post" in path]
    names = {
        operation["operationId"]
        for operation in operations
        if any(
            parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ())
        )
    }
    assert names == set(POSTS)
    assert {operation["operationId"] for operation in operations} == {*names, "create_token"}


async def test_openapi_documents_replay_headers(app: FastAPI) -> None:
    for path in app.openapi()["paths"].values():
        if path.get("post", {}).get("operationId") in POSTS:
            responses = path["post"]["responses"]
            assert "Retry-After" in responses["409"]["headers"]  # request-in-progress
            for status, response in responses.items():
                known = {name.lower() for name in response["headers"]}
                assert (REPLAYED in known) == (status < "500")


@pytest.mark.parametrize("operation", POSTS)
async def test_retry_returns_stored_response_and_writes_once(
    operation: str, client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    path, request, _ = await POSTS[operation](client)
    first = await send(client, path, request)
    assert first.status_code in {200, 201}, first.text
    writes = await outside_connection.fetchval(COUNT_WRITES)
    assert_replayed(first, await send(client, path, request))
    assert await outside_connection.fetchval(COUNT_WRITES) == writes


@pytest.mark.parametrize("operation", [name for name in POSTS if name != "complete_upload"])
async def test_different_body_with_same_key_returns_422(
    operation: str, client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    path, request, another = await POSTS[operation](client)
    assert another
    await send(client, path, request)
    writes = await outside_connection.fetchval(COUNT_WRITES)
    problem = check_problem(await send(client, path, another), 422, "idempotency-key-reused")
    assert [field_error["header"] for field_error in problem["errors"]] == ["Idempotency-Key"]
    assert await outside_connection.fetchval(COUNT_WRITES) == writes


async def test_different_path_with_same_key_returns_422(client: AsyncClient) -> None:
    await send(client, "/authors", AUTHOR)
    check_problem(await send(client, "/users", USER), 422, "idempotency-key-reused")


async def test_order_of_fields_does_not_make_request_different(client: AsyncClient) -> None:
    swapped = {"json": dict(reversed(USER["json"].items()))}
    assert_replayed(await send(client, "/users", USER), await send(client, "/users", swapped))


async def test_retry_during_upload_returns_409(client: AsyncClient) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    request = {"content": pausing_body(reached, go_on), "headers": FORM_HEADERS}
    first = asyncio.create_task(send(client, "/documents", request))
    await reached.wait()
    second = await send(client, "/documents", document())
    check_problem(second, 409, "request-in-progress")
    assert second.headers["retry-after"] == "1"
    go_on.set()
    assert (await first).status_code == 201
    assert_replayed(await first, await send(client, "/documents", document()))


async def test_twenty_concurrent_requests_write_once_and_agree(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    responses = await asyncio.gather(*(send(client, "/users", USER) for _ in range(20)))
    created = [response for response in responses if response.status_code == 201]
    assert len({response.content for response in created}) == 1
    for response in responses:
        if response.status_code != 201:
            check_problem(response, 409, "request-in-progress")
    assert await outside_connection.fetchval("SELECT count(*) FROM users") == 1


@pytest.mark.parametrize("operation", ["create_author", "create_user", "create_document"])
async def test_concurrent_requests_to_several_processes_write_once_and_agree(
    operation: str, client: AsyncClient, database_url: str, outside_connection: asyncpg.Connection
) -> None:
    path, request, _ = await POSTS[operation](client)
    async with four_instances(client, database_url) as clients:
        responses = await asyncio.gather(*(send(instance, path, request) for instance in clients))
    created = [response for response in responses if response.status_code == 201]
    assert len({response.content for response in created}) == 1
    assert all(response.status_code in {201, 409} for response in responses)
    assert await outside_connection.fetchval(f"SELECT count(*) FROM {path[1:]}") == 1


@asynccontextmanager
async def four_instances(client: AsyncClient, url: str) -> AsyncIterator[list[AsyncClient]]:
    """Yield clients of four instances of the service that share the database and the store.

    Like four processes, they do not know each other's requests.
    """
    app: FastAPI = client._transport.app  # type: ignore[attr-defined]
    async with (
        client_of_new_instance(url) as second,
        client_of_new_instance(url) as third,
        client_of_new_instance(url) as fourth,
    ):
        for other_client in (second, third, fourth):
            replace_resources(other_client._transport.app, storage=get_resources(app).storage)  # type: ignore[attr-defined]
        yield [client, second, third, fourth]


async def test_second_process_waits_for_transaction_of_first(
    client: AsyncClient, database_url: str, outside_connection: asyncpg.Connection
) -> None:
    """Both instances have executed the request, and then wait for the table of responses."""
    transaction = outside_connection.transaction()
    await transaction.start()
    await outside_connection.execute("LOCK TABLE stored_answers IN SHARE ROW EXCLUSIVE MODE")
    async with four_instances(client, database_url) as clients:
        tasks = [
            asyncio.create_task(send(instance, "/authors", AUTHOR)) for instance in clients[:2]
        ]

        async def both_wait() -> bool:
            waits = "SELECT count(*) = 2 FROM pg_locks WHERE NOT granted AND relation = "
            return bool(await outside_connection.fetchval(f"{waits}'stored_answers'::regclass"))

        await poll_until(both_wait)
        await transaction.rollback()
        first, second = await asyncio.gather(*tasks)
    assert first.status_code == second.status_code == 201
    assert first.content == second.content
    assert {REPLAYED in response.headers for response in (first, second)} == {True, False}
    assert await outside_connection.fetchval("SELECT count(*) FROM authors") == 1


async def test_error_response_is_stored_and_replayed(client: AsyncClient) -> None:
    other_user = await make_user(client)
    request = {"json": USER["json"] | {"email": other_user["email"]}}
    first = await send(client, "/users", request)
    check_problem(first, 409, "email-taken")
    assert (await client.delete(f"/users/{other_user['id']}")).status_code == 204
    assert_replayed(first, await send(client, "/users", request))


async def test_refused_batch_is_replayed_with_its_pointers(client: AsyncClient) -> None:
    author_id = (await make_author(client))["id"]
    items = [{"title": "Lavinia", "author_id": row_id} for row_id in (author_id, UNKNOWN_ID)]
    first = await send(client, "/books/batch", {"json": {"items": items}})
    assert field_error_locations(first) == [{"pointer": "/items/1/author_id"}]
    assert_replayed(first, await send(client, "/books/batch", {"json": {"items": items}}))
    assert (await client.get("/books")).json()["total"] == 0


async def test_invalid_body_can_be_corrected_with_same_key(client: AsyncClient) -> None:
    wrong = await send(client, "/authors", {"json": {"name": ""}})
    check_problem(wrong, 422, "invalid-request")
    assert (await send(client, "/authors", AUTHOR)).status_code == 201


async def test_invalid_form_can_be_corrected_with_same_key(client: AsyncClient) -> None:
    wrong = {"content": form_body(form_field("title", "Notes")), "headers": FORM_HEADERS}
    check_problem(await send(client, "/documents", wrong), 422, "invalid-request")
    assert (await send(client, "/documents", document())).status_code == 201


async def test_temporary_failure_is_not_stored(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute("ALTER TABLE authors RENAME TO elsewhere")
    check_problem(await send(client, "/authors", AUTHOR), 500, "internal-error")
    await outside_connection.execute("ALTER TABLE elsewhere RENAME TO authors")
    response = await send(client, "/authors", AUTHOR)
    assert response.status_code == 201
    assert REPLAYED not in response.headers


async def test_response_is_stored_in_transaction_of_its_writes(
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


async def roll_back_deadlocked_transactions(
    outside_connection: asyncpg.Connection, condition: str
) -> None:
    """Roll back inserts of authors as after a deadlock, while a condition is true."""
    await outside_connection.execute(
        "CREATE FUNCTION simulate_deadlock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF {condition} THEN RAISE deadlock_detected; END IF; RETURN NEW; END $$"
    )
    await outside_connection.execute(
        "CREATE TRIGGER simulate_deadlock BEFORE INSERT ON authors "
        "FOR EACH ROW EXECUTE FUNCTION simulate_deadlock()"
    )


async def test_rolled_back_transaction_is_retried(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute("CREATE SEQUENCE attempts")
    await roll_back_deadlocked_transactions(outside_connection, "nextval('attempts') = 1")
    assert (await send(client, "/authors", AUTHOR)).status_code == 201
    assert await outside_connection.fetchval("SELECT last_value FROM attempts") == 2


async def test_second_deadlock_returns_409_and_is_not_stored(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await roll_back_deadlocked_transactions(outside_connection, "true")
    check_problem(await send(client, "/authors", AUTHOR), 409, "conflict")
    await outside_connection.execute("DROP TRIGGER simulate_deadlock ON authors")
    assert (await send(client, "/authors", AUTHOR)).status_code == 201


async def test_key_and_password_are_not_stored(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await send(client, "/users", USER)
    (stored_response,) = await outside_connection.fetch("SELECT * FROM stored_answers")
    for secret in (KEY, USER["json"]["password"]):
        assert secret.encode() not in b"".join(
            value if isinstance(value, bytes) else str(value).encode()
            for value in stored_response.values()
        )


async def test_key_is_forgotten_after_a_day(
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
    assert await StoredResponseRepository(database.writes).delete_expired_responses() == 0
    await outside_connection.execute(
        "UPDATE stored_answers SET created_at = created_at - interval '1 day'"
    )
    assert await StoredResponseRepository(database.writes).delete_expired_responses() == 1


async def test_keys_of_different_callers_are_independent(
    client: AsyncClient, database: Database
) -> None:
    members = [(await create_user_with_token(database)).headers for _ in range(2)]
    request = document()
    responses = [
        await send(client, "/documents", {**request, "headers": {**FORM_HEADERS, **headers}})
        for headers in (*members, {})
    ]
    assert [response.status_code for response in responses] == [201] * 3
    assert len({response.json()["id"] for response in responses}) == 3


async def test_forbidden_request_is_not_stored(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    member = {**AUTHOR, "headers": (await create_user_with_token(database)).headers}
    check_problem(await send(client, "/authors", member), 403, "forbidden")
    assert await outside_connection.fetchval("SELECT count(*) FROM stored_answers") == 0


@pytest.mark.parametrize(
    ("one", "same"), [("abc", '"abc"'), ("a'b,c", '"a\'b,c"'), ('a"b\\c', '"a\\"b\\\\c"')]
)
async def test_quoted_key_equals_unquoted_key(one: str, same: str, client: AsyncClient) -> None:
    first, second = [await send(client, "/authors", AUTHOR, key) for key in (one, same)]
    assert_replayed(first, second)


async def test_longest_key_is_accepted(client: AsyncClient) -> None:
    assert (await send(client, "/authors", AUTHOR, "k" * 255)).status_code == 201


@pytest.mark.parametrize(
    "key", ["", '""', '"', '"a', "a b", '"a b"', "ä", "k" * 256, f'"{"k" * 256}"', '"a\\b"', '"a"b']
)
async def test_malformed_key_returns_422(key: str, client: AsyncClient) -> None:
    headers = [(b"Idempotency-Key", key.encode())]
    response = await client.post("/authors", json=AUTHOR["json"], headers=headers)
    problem = check_problem(response, 422, "invalid-request")
    assert problem["errors"][0]["header"] == "Idempotency-Key"


async def test_repeated_key_header_returns_422(client: AsyncClient) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    response = await client.post("/authors", json=AUTHOR["json"], headers=headers)
    check_problem(response, 422, "invalid-request")


async def test_login_ignores_key(client: AsyncClient) -> None:
    user = await make_user(client)
    tokens = []
    for _ in range(2):
        data = {"username": user["email"], "password": "correct horse"}
        response = await client.post("/tokens", data=data, headers={"Idempotency-Key": KEY})
        tokens.append(response.json()["access_token"])
    assert tokens[0] != tokens[1]
    assert (await log_in(client)).status_code == 201


async def test_replay_takes_one_statement_and_storing_takes_two(
    client: AsyncClient, statements: list[str]
) -> None:
    statements.clear()
    await send(client, "/authors", AUTHOR)
    assert sql_commands(statements) == ["SELECT", "WITH", "INSERT"]
    statements.clear()
    await send(client, "/authors", AUTHOR)
    assert sql_commands(statements) == ["SELECT"]


async def test_upload_holds_no_connection_while_bytes_arrive(
    client: AsyncClient, database: Database
) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()
    request = {"content": pausing_body(reached, go_on), "headers": FORM_HEADERS}
    first = asyncio.create_task(send(client, "/documents", request))
    await reached.wait()
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    go_on.set()
    assert (await first).status_code == 201


async def test_replayed_upload_leaves_no_object_in_store(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    for _ in range(2):
        body = {"content": stream_chunks(document()["content"]), "headers": FORM_HEADERS}
        assert (await send(client, "/documents", body)).status_code == 201
    assert await outside_connection.fetchval("SELECT count(*) FROM stored_objects") == 1


# A crash


async def test_retry_after_kill_between_commit_and_response_is_replayed(
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
        pending_request = asyncio.ensure_future(send(client, path, request))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await wire.response_intercepted.wait()
        process.kill()
        await process.wait()
        await asyncio.wait([pending_request])
        assert pending_request.exception() is not None
    async with (
        running_server(DATABASE_URL=private_database_url) as (_, origin),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        retry = await send(client, path, request)
        assert (retry.status_code, retry.headers[REPLAYED]) == (201, "true")
        assert (await client.get(retry.headers["location"])).json() == retry.json()
        assert (await client.get(path)).json()["total"] == 1
        assert (await make_book(client))["id"] != retry.json()["id"]
