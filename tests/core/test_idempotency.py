"""Idempotency-Key: a retry returns the response of the first request, and writes nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response

from app.core.db import Database
from app.core.idempotency import StoredResponseRepository
from checks.references import inline_components
from tests.support.accounts import client_of_new_instance, log_in, sql_commands
from tests.support.clients_with_tokens import create_user_with_token
from tests.support.database_proxy import COMMIT_COMPLETE_MESSAGE, running_database_proxy
from tests.support.entities import ENTITIES
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import make_author, make_book, make_user
from tests.support.idempotent_requests import (
    AUTHOR_REQUEST,
    KEY,
    POST_OPERATIONS,
    REPLAYED_HEADER,
    USER_REQUEST,
    RequestArguments,
    document_request,
    post_with_key,
)
from tests.support.multipart import FORM_HEADERS, form_body, form_field, stream_chunks
from tests.support.problems import check_problem, field_error_locations
from tests.support.processes import TIMEOUT_SECONDS, poll_until, running_server
from tests.support.resources import get_resources, replace_resources

pytestmark = pytest.mark.private_database

ROW_COUNTS = " + ".join(f"(SELECT count(*) FROM {case.plural})" for case in ENTITIES)
# Selects a number that every write of a POST operation changes.
COUNT_WRITES = (
    f"SELECT {ROW_COUNTS} + (SELECT coalesce(sum(version), 0) FROM documents)"
    " + (SELECT count(*) FROM stored_objects WHERE state <> 'deleting')"
)


async def stream_document_with_pause(
    paused: asyncio.Event, resume: asyncio.Event
) -> AsyncIterator[bytes]:
    """Yield the body of `document_request()`.

    After the first 50 bytes, set `paused` and wait until the test sets `resume`.
    """
    body = document_request()["content"]
    yield body[:50]
    paused.set()
    await resume.wait()
    yield body[50:]


def assert_replayed(first: Response, second: Response) -> None:
    """Check that the second response is a replay of the first one."""
    assert REPLAYED_HEADER not in first.headers
    assert second.headers[REPLAYED_HEADER] == "true"
    expected_headers = {
        **first.headers,
        REPLAYED_HEADER: "true",
        "x-request-id": second.headers["x-request-id"],
    }
    assert dict(second.headers) == expected_headers
    assert (first.status_code, first.content) == (second.status_code, second.content)


async def test_every_post_except_login_accepts_key(app: FastAPI) -> None:
    paths = inline_components(app.openapi())["paths"]
    operations = [path["post"] for path in paths.values() if "post" in path]
    names = {
        operation["operationId"]
        for operation in operations
        if any(
            parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ())
        )
    }
    assert names == set(POST_OPERATIONS)
    assert {operation["operationId"] for operation in operations} == {*names, "create_token"}


async def test_openapi_documents_retry_after_of_requests_in_progress(app: FastAPI) -> None:
    for path in inline_components(app.openapi())["paths"].values():
        if path.get("post", {}).get("operationId") in POST_OPERATIONS:
            # The problem type "request-in-progress" has this status.
            assert "Retry-After" in path["post"]["responses"]["409"]["headers"]


async def test_openapi_documents_replayed_header_of_responses_that_are_stored(
    app: FastAPI, client: AsyncClient, database: Database
) -> None:
    _, book_request, _ = await POST_OPERATIONS["create_book"](client)
    # Errors are stored only for callers with a token.
    client.headers.update((await create_user_with_token(database, "editor")).headers)
    requests: list[RequestArguments] = [
        book_request,
        {"json": {"title": "A", "author_id": UNKNOWN_ID}},
        {"content": b"{", "headers": {"Content-Type": "application/json"}},
        {"content": b"{}", "headers": {"Content-Type": "text/plain"}},
        {"content": b" " * 2_000_000, "headers": {"Content-Type": "application/json"}},
        {**book_request, "headers": {"Authorization": "Bearer unknown"}},
    ]
    is_replayed = {}
    for number, request in enumerate(requests):
        for _ in range(2):
            response = await post_with_key(client, "/books", request, key=f"key-{number}")
        is_replayed[str(response.status_code)] = REPLAYED_HEADER in response.headers
    assert list(is_replayed) == ["201", "422", "400", "415", "413", "401"]
    documented = inline_components(app.openapi())["paths"]["/books"]["post"]["responses"]
    for status, replayed in is_replayed.items():
        assert ("Idempotency-Replayed" in documented[status]["headers"]) == replayed, status


@pytest.mark.parametrize("operation", POST_OPERATIONS)
async def test_retry_returns_stored_response_and_writes_once(
    operation: str, client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    path, request, _ = await POST_OPERATIONS[operation](client)
    first = await post_with_key(client, path, request)
    assert first.status_code in {200, 201}, first.text
    writes = await outside_connection.fetchval(COUNT_WRITES)
    assert_replayed(first, await post_with_key(client, path, request))
    assert await outside_connection.fetchval(COUNT_WRITES) == writes


@pytest.mark.parametrize(
    "operation", [name for name in POST_OPERATIONS if name != "complete_upload"]
)
async def test_different_body_with_same_key_returns_422(
    operation: str, client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    path, request, different_request = await POST_OPERATIONS[operation](client)
    assert different_request
    await post_with_key(client, path, request)
    writes = await outside_connection.fetchval(COUNT_WRITES)
    problem = check_problem(
        await post_with_key(client, path, different_request), 422, "idempotency-key-reused"
    )
    assert [field_error["header"] for field_error in problem["errors"]] == ["Idempotency-Key"]
    assert await outside_connection.fetchval(COUNT_WRITES) == writes


async def test_different_path_with_same_key_returns_422(client: AsyncClient) -> None:
    await post_with_key(client, "/authors", AUTHOR_REQUEST)
    check_problem(
        await post_with_key(client, "/users", USER_REQUEST), 422, "idempotency-key-reused"
    )


async def test_retry_is_replayed_when_its_fields_have_another_order(client: AsyncClient) -> None:
    reordered = {"json": dict(reversed(USER_REQUEST["json"].items()))}
    assert_replayed(
        await post_with_key(client, "/users", USER_REQUEST),
        await post_with_key(client, "/users", reordered),
    )


async def test_retry_returns_409_while_first_request_uploads_its_file(client: AsyncClient) -> None:
    paused, resume = asyncio.Event(), asyncio.Event()
    request = {"content": stream_document_with_pause(paused, resume), "headers": FORM_HEADERS}
    first = asyncio.create_task(post_with_key(client, "/documents", request))
    await paused.wait()
    second = await post_with_key(client, "/documents", document_request())
    check_problem(second, 409, "request-in-progress")
    assert second.headers["retry-after"] == "1"
    resume.set()
    assert (await first).status_code == 201
    assert_replayed(await first, await post_with_key(client, "/documents", document_request()))


async def test_concurrent_requests_with_same_key_create_one_user(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    responses = await asyncio.gather(
        *(post_with_key(client, "/users", USER_REQUEST) for _ in range(20))
    )
    created = [response for response in responses if response.status_code == 201]
    assert len({response.content for response in created}) == 1
    for response in responses:
        if response.status_code != 201:
            check_problem(response, 409, "request-in-progress")
    assert await outside_connection.fetchval("SELECT count(*) FROM users") == 1


@pytest.mark.parametrize("operation", ["create_author", "create_user", "create_document"])
async def test_concurrent_requests_to_four_instances_create_one_row(
    operation: str, client: AsyncClient, database_url: str, outside_connection: asyncpg.Connection
) -> None:
    path, request, _ = await POST_OPERATIONS[operation](client)
    async with clients_of_four_instances(client, database_url) as clients:
        responses = await asyncio.gather(
            *(post_with_key(instance_client, path, request) for instance_client in clients)
        )
    created = [response for response in responses if response.status_code == 201]
    assert len({response.content for response in created}) == 1
    assert all(response.status_code in {201, 409} for response in responses)
    assert await outside_connection.fetchval(f"SELECT count(*) FROM {path[1:]}") == 1


@asynccontextmanager
async def clients_of_four_instances(
    client: AsyncClient, database_url: str
) -> AsyncIterator[list[AsyncClient]]:
    """Yield clients of four instances of the service that share the database and the store.

    The instances share no memory, as if each ran in its own process. `client` is the client of the
    first instance.
    """
    app: FastAPI = client._transport.app  # type: ignore[attr-defined]
    async with (
        client_of_new_instance(database_url) as second,
        client_of_new_instance(database_url) as third,
        client_of_new_instance(database_url) as fourth,
    ):
        for other_client in (second, third, fourth):
            replace_resources(other_client._transport.app, storage=get_resources(app).storage)  # type: ignore[attr-defined]
        yield [client, second, third, fourth]


async def test_second_of_two_concurrent_instances_replays_response_of_first(
    client: AsyncClient, database_url: str, outside_connection: asyncpg.Connection
) -> None:
    """Both instances execute the request before either of them can store its response."""
    transaction = outside_connection.transaction()
    await transaction.start()
    await outside_connection.execute("LOCK TABLE stored_answers IN SHARE ROW EXCLUSIVE MODE")
    async with clients_of_four_instances(client, database_url) as clients:
        tasks = [
            asyncio.create_task(post_with_key(instance_client, "/authors", AUTHOR_REQUEST))
            for instance_client in clients[:2]
        ]

        async def both_wait_for_lock() -> bool:
            query = (
                "SELECT count(*) = 2 FROM pg_locks "
                "WHERE NOT granted AND relation = 'stored_answers'::regclass"
            )
            return bool(await outside_connection.fetchval(query))

        await poll_until(both_wait_for_lock)
        await transaction.rollback()
        first, second = await asyncio.gather(*tasks)
    assert first.status_code == second.status_code == 201
    assert first.content == second.content
    assert {REPLAYED_HEADER in response.headers for response in (first, second)} == {True, False}
    assert await outside_connection.fetchval("SELECT count(*) FROM authors") == 1


async def test_retry_with_token_replays_error_response_after_its_cause_is_removed(
    client: AsyncClient, database: Database
) -> None:
    admin = await create_user_with_token(database, "admin")
    other_user = await make_user(client)
    request = {"json": USER_REQUEST["json"] | {"email": other_user["email"]}}
    request["headers"] = admin.headers
    first = await post_with_key(client, "/users", request)
    check_problem(first, 409, "email-taken")
    assert (await client.delete(f"/users/{other_user['id']}")).status_code == 204
    assert_replayed(first, await post_with_key(client, "/users", request))


async def test_retry_without_token_is_executed_again_after_an_error(client: AsyncClient) -> None:
    other_user = await make_user(client)
    request = {"json": USER_REQUEST["json"] | {"email": other_user["email"]}}
    first = await post_with_key(client, "/users", request)
    check_problem(first, 409, "email-taken")
    assert (await client.delete(f"/users/{other_user['id']}")).status_code == 204
    second = await post_with_key(client, "/users", request)
    assert second.status_code == 201
    assert_replayed(second, await post_with_key(client, "/users", request))


async def test_errors_without_token_store_nothing(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    book_request = {"json": {"title": "Lavinia", "author_id": UNKNOWN_ID}}
    for key in ("first", "second", "third"):
        response = await post_with_key(client, "/books", book_request, key)
        check_problem(response, 422, "invalid-request")
    assert await outside_connection.fetchval("SELECT count(*) FROM stored_answers") == 0


async def test_retry_of_invalid_batch_replays_pointers_of_field_errors(
    client: AsyncClient, database: Database
) -> None:
    editor = await create_user_with_token(database, "editor")
    author_id = (await make_author(client))["id"]
    items = [{"title": "Lavinia", "author_id": row_id} for row_id in (author_id, UNKNOWN_ID)]
    request = {"json": {"items": items}, "headers": editor.headers}
    first = await post_with_key(client, "/books/batch", request)
    assert field_error_locations(first) == [{"pointer": "/items/1/author_id"}]
    assert_replayed(first, await post_with_key(client, "/books/batch", request))
    assert (await client.get("/books")).json()["total"] == 0


async def test_corrected_body_is_accepted_with_key_of_invalid_body(client: AsyncClient) -> None:
    invalid = await post_with_key(client, "/authors", {"json": {"name": ""}})
    check_problem(invalid, 422, "invalid-request")
    assert (await post_with_key(client, "/authors", AUTHOR_REQUEST)).status_code == 201


async def test_corrected_form_is_accepted_with_key_of_invalid_form(client: AsyncClient) -> None:
    invalid_request = {"content": form_body(form_field("title", "Notes")), "headers": FORM_HEADERS}
    check_problem(
        await post_with_key(client, "/documents", invalid_request), 422, "invalid-request"
    )
    assert (await post_with_key(client, "/documents", document_request())).status_code == 201


async def test_retry_is_executed_after_internal_error(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute("ALTER TABLE authors RENAME TO renamed_authors")
    check_problem(await post_with_key(client, "/authors", AUTHOR_REQUEST), 500, "internal-error")
    await outside_connection.execute("ALTER TABLE renamed_authors RENAME TO authors")
    response = await post_with_key(client, "/authors", AUTHOR_REQUEST)
    assert response.status_code == 201
    assert REPLAYED_HEADER not in response.headers


async def test_writes_are_rolled_back_when_response_cannot_be_stored(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(
        "CREATE FUNCTION fail_at_commit() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '53100'; END $$"
    )
    await outside_connection.execute(
        "CREATE CONSTRAINT TRIGGER fail_at_commit AFTER INSERT ON stored_answers "
        "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail_at_commit()"
    )
    check_problem(await post_with_key(client, "/authors", AUTHOR_REQUEST), 503, "overloaded")
    assert await outside_connection.fetchval("SELECT count(*) FROM authors") == 0
    await outside_connection.execute("DROP TRIGGER fail_at_commit ON stored_answers")
    assert (await post_with_key(client, "/authors", AUTHOR_REQUEST)).status_code == 201


async def simulate_deadlocks(outside_connection: asyncpg.Connection, condition: str) -> None:
    """Make inserts of authors fail with a deadlock while an SQL condition is true."""
    await outside_connection.execute(
        "CREATE FUNCTION simulate_deadlock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF {condition} THEN RAISE deadlock_detected; END IF; RETURN NEW; END $$"
    )
    await outside_connection.execute(
        "CREATE TRIGGER simulate_deadlock BEFORE INSERT ON authors "
        "FOR EACH ROW EXECUTE FUNCTION simulate_deadlock()"
    )


async def test_request_with_key_is_executed_again_after_deadlock(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute("CREATE SEQUENCE attempts")
    await simulate_deadlocks(outside_connection, "nextval('attempts') = 1")
    assert (await post_with_key(client, "/authors", AUTHOR_REQUEST)).status_code == 201
    assert await outside_connection.fetchval("SELECT last_value FROM attempts") == 2


async def test_second_deadlock_returns_409_and_is_not_stored(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await simulate_deadlocks(outside_connection, "true")
    check_problem(await post_with_key(client, "/authors", AUTHOR_REQUEST), 409, "conflict")
    await outside_connection.execute("DROP TRIGGER simulate_deadlock ON authors")
    assert (await post_with_key(client, "/authors", AUTHOR_REQUEST)).status_code == 201


async def test_stored_response_contains_neither_key_nor_password(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    await post_with_key(client, "/users", USER_REQUEST)
    (stored_response,) = await outside_connection.fetch("SELECT * FROM stored_answers")
    for secret in (KEY, USER_REQUEST["json"]["password"]):
        assert secret.encode() not in b"".join(
            value if isinstance(value, bytes) else str(value).encode()
            for value in stored_response.values()
        )


async def test_key_can_be_reused_and_its_response_is_deleted_after_a_day(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    first = await post_with_key(client, "/authors", AUTHOR_REQUEST)
    await outside_connection.execute(
        "UPDATE stored_answers SET created_at = created_at - interval '1 day'"
    )
    second = await post_with_key(client, "/authors", AUTHOR_REQUEST)
    assert second.status_code == 201
    assert first.json()["id"] != second.json()["id"]
    assert_replayed(second, await post_with_key(client, "/authors", AUTHOR_REQUEST))
    assert await StoredResponseRepository(database.writes).delete_expired_responses() == 0
    await outside_connection.execute(
        "UPDATE stored_answers SET created_at = created_at - interval '1 day'"
    )
    assert await StoredResponseRepository(database.writes).delete_expired_responses() == 1


async def test_requests_of_different_callers_with_same_key_are_all_executed(
    client: AsyncClient, database: Database
) -> None:
    member_headers = [(await create_user_with_token(database)).headers for _ in range(2)]
    request = document_request()
    responses = [
        await post_with_key(
            client, "/documents", {**request, "headers": {**FORM_HEADERS, **headers}}
        )
        for headers in (*member_headers, {})
    ]
    assert [response.status_code for response in responses] == [201] * 3
    assert len({response.json()["id"] for response in responses}) == 3


async def test_response_is_not_stored_when_caller_lacks_permission(
    client: AsyncClient, database: Database, outside_connection: asyncpg.Connection
) -> None:
    request = {**AUTHOR_REQUEST, "headers": (await create_user_with_token(database)).headers}
    check_problem(await post_with_key(client, "/authors", request), 403, "forbidden")
    assert await outside_connection.fetchval("SELECT count(*) FROM stored_answers") == 0


@pytest.mark.parametrize(
    ("unquoted_key", "quoted_key"),
    [("abc", '"abc"'), ("a'b,c", '"a\'b,c"'), ('a"b\\c', '"a\\"b\\\\c"')],
)
async def test_retry_with_quoted_key_replays_response_of_unquoted_key(
    unquoted_key: str, quoted_key: str, client: AsyncClient
) -> None:
    first, second = [
        await post_with_key(client, "/authors", AUTHOR_REQUEST, key)
        for key in (unquoted_key, quoted_key)
    ]
    assert_replayed(first, second)


async def test_key_of_255_characters_is_accepted(client: AsyncClient) -> None:
    assert (await post_with_key(client, "/authors", AUTHOR_REQUEST, "k" * 255)).status_code == 201


@pytest.mark.parametrize(
    "key", ["", '""', '"', '"a', "a b", '"a b"', "ä", "k" * 256, f'"{"k" * 256}"', '"a\\b"', '"a"b']
)
async def test_malformed_key_returns_422(key: str, client: AsyncClient) -> None:
    headers = [(b"Idempotency-Key", key.encode())]
    response = await client.post("/authors", json=AUTHOR_REQUEST["json"], headers=headers)
    problem = check_problem(response, 422, "invalid-request")
    assert problem["errors"][0]["header"] == "Idempotency-Key"


async def test_repeated_key_header_returns_422(client: AsyncClient) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    response = await client.post("/authors", json=AUTHOR_REQUEST["json"], headers=headers)
    check_problem(response, 422, "invalid-request")


async def test_login_with_used_key_returns_new_token(client: AsyncClient) -> None:
    user = await make_user(client)
    tokens = []
    for _ in range(2):
        data = {"username": user["email"], "password": "correct horse"}
        response = await client.post("/tokens", data=data, headers={"Idempotency-Key": KEY})
        tokens.append(response.json()["access_token"])
    assert tokens[0] != tokens[1]
    assert (await log_in(client)).status_code == 201


async def test_first_request_executes_three_statements_and_replay_one(
    client: AsyncClient, statements: list[str]
) -> None:
    statements.clear()
    await post_with_key(client, "/authors", AUTHOR_REQUEST)
    assert sql_commands(statements) == ["SELECT", "WITH", "INSERT"]
    statements.clear()
    await post_with_key(client, "/authors", AUTHOR_REQUEST)
    assert sql_commands(statements) == ["SELECT"]


async def test_upload_with_key_holds_no_connection_while_it_receives_body(
    client: AsyncClient, database: Database
) -> None:
    paused, resume = asyncio.Event(), asyncio.Event()
    request = {"content": stream_document_with_pause(paused, resume), "headers": FORM_HEADERS}
    first = asyncio.create_task(post_with_key(client, "/documents", request))
    await paused.wait()
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    resume.set()
    assert (await first).status_code == 201


async def test_retry_of_upload_adds_no_stored_object(
    client: AsyncClient, outside_connection: asyncpg.Connection
) -> None:
    for _ in range(2):
        body = {"content": stream_chunks(document_request()["content"]), "headers": FORM_HEADERS}
        assert (await post_with_key(client, "/documents", body)).status_code == 201
    assert await outside_connection.fetchval("SELECT count(*) FROM stored_objects") == 1


# Crash of the server


async def test_retry_is_replayed_when_server_was_killed_between_commit_and_response(
    private_database_url: str,
) -> None:
    path = "/books"
    async with (
        running_database_proxy(private_database_url) as proxy,
        running_server(DATABASE_URL=proxy.url) as (process, origin),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        request = {"json": {"title": "Lavinia", "author_id": (await make_author(client))["id"]}}
        proxy.block_at_response(COMMIT_COMPLETE_MESSAGE)
        pending_request = asyncio.ensure_future(post_with_key(client, path, request))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await proxy.response_intercepted.wait()
        process.kill()
        await process.wait()
        await asyncio.wait([pending_request])
        assert pending_request.exception() is not None
    async with (
        running_server(DATABASE_URL=private_database_url) as (_, origin),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        retry = await post_with_key(client, path, request)
        assert (retry.status_code, retry.headers[REPLAYED_HEADER]) == (201, "true")
        assert (await client.get(retry.headers["location"])).json() == retry.json()
        assert (await client.get(path)).json()["total"] == 1
        assert (await make_book(client))["id"] != retry.json()["id"]
