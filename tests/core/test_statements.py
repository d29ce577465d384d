"""The number of SQL statements that each kind of request executes.

A request without a transaction must send nothing else to the database, not even BEGIN or COMMIT.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from sqlalchemy import text
from starlette.types import Message, Receive, Scope, Send

from app.core.db import Database
from app.core.db._listing import FETCH_SIZE
from app.tokens import secret
from tests.support.accounts import bearer_headers
from tests.support.callers import TOKENS, add_callers, change_hex_digit
from tests.support.clients_with_tokens import create_user_with_token
from tests.support.entities import ENTITIES
from tests.support.entity_case import UNKNOWN_ID, EntityCase
from tests.support.factories import (
    make_author,
    make_book,
    make_direct_upload,
    make_document,
    make_user,
)
from tests.support.multipart import FORM_HEADERS, form_body, form_field, form_file
from tests.support.requests import valid_body
from tests.support.responses import get_json
from tests.support.rows import TABLE_NAMES, execute, fill_tables
from tests.support.statements import (
    is_sent_by_library,
    observe_all_statements,
    wait_for_statement_callbacks,
)
from tests.support.streamed_lists import CONTENT_TYPES, STREAMED_PATHS, get_stream

pytestmark = pytest.mark.private_database

STALE_IF_MATCH = {"If-Match": '"7"'}
NAME_FIELD = form_field("name", "Thesis")
JSON_CASES = [case for case in ENTITIES if not case.is_form]
# Marks the end of the response in the list of statements.
RESPONSE_SENT = "response sent"


@pytest.fixture
async def client(app: FastAPI, statements: list[str]) -> AsyncIterator[AsyncClient]:
    """A client that adds `RESPONSE_SENT` to `statements` at the end of each response.

    The client did not have to wait for statements after it.
    """

    async def app_with_marks(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_mark(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                # Statements are also recorded in the next iteration of the event loop, so the
                # order is kept.
                asyncio.get_running_loop().call_soon(statements.append, RESPONSE_SENT)

        await app(scope, receive, send_and_mark)

    transport = ASGITransport(app_with_marks)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture
def library_statements(database: Database) -> Iterator[list[str]]:
    """The statements that SQLAlchemy and the driver send by themselves, for example COMMIT."""
    recorded_statements: list[str] = []

    def record_library_statement(statement: str, _: object) -> None:
        if is_sent_by_library(statement):
            recorded_statements.append(statement)

    with observe_all_statements(database, record_library_statement):
        yield recorded_statements


def first_keywords(statements: list[str]) -> list[str]:
    """Return the first keyword of each statement, for example `["BEGIN", "COMMIT"]`."""
    return [statement.split()[0].strip(";") for statement in statements]


@pytest.fixture
async def count_statements(
    client: AsyncClient, database: Database, statements: list[str], library_statements: list[str]
) -> Any:
    """A function that sends a request and counts the statements before its response.

    It returns the status and the number. If the request needs a transaction, `transaction_end` is
    the statement at its end, for example "COMMIT".
    """
    # Once per connection, the driver reads the definitions of the types of arrays: of integers, and
    # of the digests of tokens.
    await client.delete(f"/authors/{UNKNOWN_ID}", headers=STALE_IF_MATCH)
    await client.get("/users/me", headers=bearer_headers(secret.generate_token()))

    async def send_request(
        method: str, path: str, *, transaction_end: str = "", **request: Any
    ) -> tuple[int, int]:
        await wait_for_statement_callbacks()
        statements.clear()
        library_statements.clear()
        response = await client.request(method, path, **request)
        await database.wait_for_callbacks()
        await wait_for_statement_callbacks()
        transaction_statements = [
            statement for statement in library_statements if "SAVEPOINT" not in statement
        ]
        expected_keywords = ["BEGIN", transaction_end] if transaction_end else []
        assert first_keywords(transaction_statements) == expected_keywords
        return response.status_code, statements.index(RESPONSE_SENT)

    return send_request


def count_statements_after_response(statements: list[str]) -> int:
    """Return the number of statements that were executed after the last response."""
    return len(statements) - statements.index(RESPONSE_SENT) - 1


async def test_no_statement_follows_response(
    client: AsyncClient, count_statements: Any, statements: list[str]
) -> None:
    path = f"/authors/{(await make_author(client))['id']}"
    for method in ("GET", "DELETE"):
        await count_statements(method, path)
        assert count_statements_after_response(statements) == 0


async def test_fixtures_record_statements_of_transaction(
    database: Database, statements: list[str], library_statements: list[str]
) -> None:
    async with database.transaction() as session:
        await session.execute(text("SELECT 1"))
    await wait_for_statement_callbacks()
    assert statements == ["SELECT 1"]
    assert first_keywords(library_statements[-2:]) == ["BEGIN", "COMMIT"]


async def test_get_executes_one_statement(client: AsyncClient, count_statements: Any) -> None:
    book, user = await make_book(client), await make_user(client)
    for path in (f"/books/{book['id']}", f"/authors/{book['author_id']}", f"/users/{user['id']}"):
        assert await count_statements("GET", path) == (200, 1)
        assert await count_statements("HEAD", path) == (200, 1)
        if_none_match = {"If-None-Match": (await client.get(path)).headers["etag"]}
        assert await count_statements("GET", path, headers=if_none_match) == (304, 1)
    for path in (f"/books/{UNKNOWN_ID}", f"/authors/{UNKNOWN_ID}", "/users/1000000"):
        assert await count_statements("GET", path) == (404, 1)


async def test_list_of_any_length_executes_one_statement(
    client: AsyncClient, count_statements: Any
) -> None:
    first = await make_book(client)
    await make_user(client)
    lists = ["/authors", "/books", "/users", f"/authors/{first['author_id']}/books"]
    for path in lists:
        assert await count_statements("GET", path) == (200, 1)
    for number in range(49):
        await make_book(client, title=f"{number}")
        await make_book(client, title=f"{number}", author_id=first["author_id"])
    for path in lists:
        assert await count_statements("GET", path, params={"size": "50"}) == (200, 1)
        assert await count_statements("GET", path, params={"size": "50", "count": "none"}) == (
            200,
            1,
        )
        assert await count_statements("GET", path, params={"page": "2", "size": "20"}) == (200, 1)
        next_cursor = (await client.get(path, params={"size": "1"})).json()["next"]
        if next_cursor:
            cursor = {"size": "1", "cursor": next_cursor}
            assert await count_statements("GET", path, params=cursor) == (200, 1)
            assert await count_statements("GET", path, params=cursor | {"count": "exact"}) == (
                200,
                1,
            )


async def test_report_of_any_length_executes_one_statement_after_that_of_its_time(
    client: AsyncClient, count_statements: Any, database: Database
) -> None:
    path = "/reports/user-counts"
    # Before the first statement of an engine, SQLAlchemy reads the version of the server.
    await client.get(path)
    await execute(
        database,
        "INSERT INTO user_counts (day, count) "
        "SELECT date '2026-01-01' + n, n FROM generate_series(1, 50) n",
    )
    cursor = (await client.get(path)).json()["next"]
    for query in ("", "size=50", "count=none", "page=2", f"cursor={cursor}"):
        number = await count_statements("GET", f"{path}?{query}", transaction_end="COMMIT")
        assert number == (200, 2)
    assert await count_statements("HEAD", path, transaction_end="COMMIT") == (200, 2)
    estimated = await count_statements("GET", f"{path}?count=estimated", transaction_end="COMMIT")
    assert estimated == (200, 3)
    assert await count_statements("GET", f"{path}?sort=day") == (422, 0)


async def test_empty_list_executes_one_statement(count_statements: Any) -> None:
    for path in ("/authors", "/books", "/users"):
        assert await count_statements("GET", path) == (200, 1)


async def test_deletion_of_several_rows_executes_one_statement_and_a_refused_one_two(
    client: AsyncClient, count_statements: Any
) -> None:
    books = [await make_book(client) for _ in range(3)]
    book_ids = [book["id"] for book in books]
    author_ids = [book["author_id"] for book in books]
    # Once per connection, the driver reads the definition of the type of an array of ids.
    await client.get(f"/books?id={UNKNOWN_ID}")
    for path, ids, expected in (
        ("/books", [*book_ids, UNKNOWN_ID], (422, 2)),
        ("/books", [*book_ids, book_ids[0]], (422, 0)),
        ("/authors", author_ids, (409, 2)),
        ("/books", book_ids, (200, 1)),
        ("/authors", author_ids, (200, 1)),
    ):
        json = {"ids": ids}
        assert await count_statements("POST", f"{path}/deletions", json=json) == expected


async def test_estimated_total_executes_second_statement(
    client: AsyncClient, count_statements: Any
) -> None:
    await make_author(client)
    assert await count_statements("GET", "/authors", params={"count": "estimated"}) == (200, 2)


async def test_empty_list_of_authors_books_executes_second_statement(
    client: AsyncClient, count_statements: Any
) -> None:
    author = await make_author(client)
    assert await count_statements("GET", f"/authors/{author['id']}/books") == (200, 2)
    assert await count_statements("GET", f"/authors/{UNKNOWN_ID}/books") == (404, 2)


async def test_page_past_end_of_authors_books_executes_one_statement(
    client: AsyncClient, count_statements: Any
) -> None:
    path = f"/authors/{(await make_book(client))['author_id']}/books"
    assert await count_statements("GET", path, params={"page": "9"}) == (200, 1)


async def test_create_executes_one_statement_and_a_registration_two(
    client: AsyncClient, count_statements: Any
) -> None:
    author = await make_author(client)
    user = {"name": "Ada", "email": "ada@example.com", "password": "correct horse"}
    assert await count_statements("POST", "/authors", json={"name": "Ursula"}) == (201, 1)
    body = {"title": "Kindred", "author_id": author["id"]}
    assert await count_statements("POST", "/books", json=body) == (201, 1)
    assert await count_statements("POST", "/books", json=body | {"author_id": UNKNOWN_ID}) == (
        422,
        1,
    )
    # The first statement looks up the email, before the password is hashed.
    assert await count_statements("POST", "/users", json=user) == (201, 2)
    assert await count_statements("POST", "/users", json=user) == (409, 1)


@pytest.mark.parametrize("case", JSON_CASES, ids=lambda case: case.plural)
async def test_each_operation_of_entity_executes_one_statement(
    client: AsyncClient, count_statements: Any, case: EntityCase
) -> None:
    body = await valid_body(client, case)
    # A registration looks up the email before it hashes the password.
    create_statements = 2 if case.path == "/users" else 1
    assert await count_statements("POST", case.path, json=body) == (201, create_statements)
    for query in ("", "?size=50", "?count=none", f"?sort=-{case.sorts[0]}"):
        assert await count_statements("GET", f"{case.path}{query}") == (200, 1)
    row = (await get_json(client, f"{case.path}?sort=-created_at"))["items"][0]
    item = f"{case.path}/{row['id']}"
    assert await count_statements("GET", item) == (200, 1)
    assert await count_statements("PATCH", item, json={}) == (200, 1)
    if_match = {"If-Match": f'"{row["version"]}"'}
    assert await count_statements("PATCH", item, json=case.update, headers=if_match) == (200, 1)
    assert await count_statements("DELETE", item) == (204, 1)


@pytest.mark.parametrize("case", JSON_CASES, ids=lambda case: case.plural)
async def test_empty_list_of_entity_executes_one_statement(
    count_statements: Any, case: EntityCase
) -> None:
    assert await count_statements("GET", case.path) == (200, 1)


async def test_batch_executes_one_statement_and_second_one_to_find_missing_rows(
    client: AsyncClient, count_statements: Any
) -> None:
    book = {"title": "Kindred", "author_id": (await make_author(client))["id"]}
    # Once per connection, the driver reads the definitions of the types of the arrays.
    await client.post("/books/batch", json={"items": [book]})
    for count in (1, 2, 1000):
        request = {"json": {"items": [book] * count}, "transaction_end": "COMMIT"}
        assert await count_statements("POST", "/books/batch", **request) == (201, 1)
    missing = book | {"author_id": UNKNOWN_ID}
    for items in ([book, missing], [missing] * 1000):
        request = {"json": {"items": items}, "transaction_end": "ROLLBACK"}
        assert await count_statements("POST", "/books/batch", **request) == (422, 2)


@pytest.mark.parametrize("path", STREAMED_PATHS)
async def test_stream_declares_and_fetches_from_cursor_in_one_transaction(
    client: AsyncClient,
    database: Database,
    statements: list[str],
    library_statements: list[str],
    path: str,
) -> None:
    await fill_tables(database, 2 * FETCH_SIZE + 50)
    await wait_for_statement_callbacks()
    for extension in CONTENT_TYPES:
        statements.clear()
        library_statements.clear()
        await get_stream(client, path, extension)
        await wait_for_statement_callbacks()
        declare, *fetches, last = statements
        _, cursor_name, *_ = declare.split()
        assert cursor_name.startswith(f"{TABLE_NAMES[path]}_")
        assert declare.startswith(f"DECLARE {cursor_name} NO SCROLL CURSOR FOR SELECT ")
        assert set(fetches) == {f"FETCH FORWARD {FETCH_SIZE} FROM {cursor_name}"}
        # The last FETCH may return no rows.
        assert len(fetches) in {3, 4}
        assert last == RESPONSE_SENT
        assert first_keywords(library_statements) == ["BEGIN", "COMMIT"]


async def test_update_executes_one_statement(client: AsyncClient, count_statements: Any) -> None:
    book, user = await make_book(client), await make_user(client)
    for path, change in (
        (f"/books/{book['id']}", {"title": "x"}),
        (f"/authors/{book['author_id']}", {"name": "x", "dob": None}),
        (f"/users/{user['id']}", {"name": "x"}),
    ):
        assert await count_statements("PATCH", path, json={}) == (200, 1)
        if_match = {"If-Match": (await client.get(path)).headers["etag"]}
        assert await count_statements("PATCH", path, json={}, headers=if_match) == (200, 1)
        assert await count_statements("PATCH", path, json=change, headers=if_match) == (200, 1)
        assert await count_statements("PATCH", path, json=change) == (200, 1)


async def test_change_of_email_or_password_executes_two_statements(
    client: AsyncClient, count_statements: Any
) -> None:
    # The first statement reads the current email and name.
    path = f"/users/{(await make_user(client))['id']}"
    for change in ({"email": "countess@example.com"}, {"password": "battery staple"}):
        assert await count_statements("PATCH", path, json=change) == (200, 2)


async def test_delete_executes_one_statement(client: AsyncClient, count_statements: Any) -> None:
    book, user = await make_book(client), await make_user(client)
    author = f"/authors/{book['author_id']}"
    assert await count_statements("DELETE", author) == (409, 1)
    if_match = {"If-Match": f'"{book["version"]}"'}
    assert await count_statements("DELETE", f"/books/{book['id']}", headers=if_match) == (204, 1)
    assert await count_statements("DELETE", author) == (204, 1)
    assert await count_statements("DELETE", f"/users/{user['id']}") == (204, 1)


async def test_write_that_matches_no_row_executes_second_statement_to_explain_it(
    client: AsyncClient, count_statements: Any
) -> None:
    author = f"/authors/{(await make_author(client))['id']}"
    unknown_author = f"/authors/{UNKNOWN_ID}"
    change = {"name": "x"}
    assert await count_statements("PATCH", author, json=change, headers=STALE_IF_MATCH) == (412, 2)
    assert await count_statements("DELETE", author, headers=STALE_IF_MATCH) == (412, 2)
    assert await count_statements("PATCH", unknown_author, json=change, headers=STALE_IF_MATCH) == (
        404,
        2,
    )
    assert await count_statements("DELETE", unknown_author, headers=STALE_IF_MATCH) == (404, 2)
    # Without If-Match, the row can only be missing, so no second statement is needed.
    assert await count_statements("PATCH", unknown_author, json=change) == (404, 1)
    assert await count_statements("DELETE", unknown_author) == (404, 1)
    assert await count_statements("PATCH", author, json={}, headers=STALE_IF_MATCH) == (412, 1)


async def test_invalid_request_executes_no_statement(count_statements: Any) -> None:
    json = {"Content-Type": "application/json"}
    for path, status, request in (
        ("/authors", 422, {"json": {}}),
        ("/authors", 400, {"content": b"{", "headers": json}),
        ("/authors", 415, {"content": b"{}"}),
        ("/users", 422, {"json": {"name": "Ada", "email": "x", "password": "correct horse"}}),
        ("/nope", 404, {}),
        ("/livez", 405, {}),
    ):
        assert await count_statements("POST", path, **request) == (status, 0)
    for path, status in (
        ("/authors?size=0", 422),
        ("/authors?page=1&cursor=x", 422),
        ("/authors?cursor=x", 422),
        ("/authors?page=6000", 422),
        ("/authors/x", 422),
        (f"/authors/{UNKNOWN_ID}/books?page=1&cursor=x", 422),
        ("/users/0", 422),
    ):
        assert await count_statements("GET", path) == (status, 0)
    assert await count_statements(
        "DELETE", f"/authors/{UNKNOWN_ID}", headers={"If-Match": "x"}
    ) == (422, 0)
    assert await count_statements("OPTIONS", "/authors") == (204, 0)


async def test_endpoint_without_data_executes_no_statement(count_statements: Any) -> None:
    for path, status in (("/livez", 200), ("/docs", 200), ("/openapi.json", 200), ("/", 200)):
        assert await count_statements("GET", path) == (status, 0)


async def test_token_executes_one_more_statement_and_another_on_first_use(
    client: AsyncClient, database: Database, count_statements: Any
) -> None:
    await add_callers(database)
    await execute(database, "UPDATE tokens SET last_used_at = NULL")
    path = f"/books/{(await make_book(client))['id']}"
    headers = bearer_headers(TOKENS["owner"])
    assert await count_statements("GET", path) == (200, 1)
    for statements in (3, 2, 2):
        assert await count_statements("GET", path, headers=headers) == (200, statements)
    invalid_headers = bearer_headers(change_hex_digit(TOKENS["owner"]))
    assert await count_statements("GET", path, headers=invalid_headers) == (401, 0)
    assert await count_statements("POST", "/authors", json={"name": "Ursula"}, headers=headers) == (
        403,
        1,
    )
    assert await count_statements("GET", "/users/me", headers=headers) == (200, 2)


async def test_readiness_check_executes_one_statement(count_statements: Any) -> None:
    assert await count_statements("GET", "/readyz") == (200, 1)


async def test_read_of_documents_executes_one_statement(
    client: AsyncClient, count_statements: Any
) -> None:
    await make_document(client)
    path = f"/documents/{(await make_document(client, content=b'x'))['id']}"
    for url in (path, "/documents", "/documents?sort=size&count=none&content_type=text/plain"):
        assert await count_statements("GET", url) == (200, 1)
    assert await count_statements("GET", path, headers={"If-None-Match": '"1"'}) == (304, 1)
    assert await count_statements("GET", f"{path}/content") == (307, 1)
    assert await count_statements("GET", f"/documents/{UNKNOWN_ID}") == (404, 1)


async def test_create_document_executes_one_more_statement_for_file_and_two_for_large_file(
    count_statements: Any,
) -> None:
    name, large = form_field("name", "Thesis"), form_file(bytes(9 * 1024 * 1024))
    for parts, statements in ((name, 1), (name + form_file(b"x"), 2), (name + large, 3)):
        request = {"content": form_body(parts), "headers": FORM_HEADERS}
        assert await count_statements("POST", "/documents", **request) == (201, statements)


async def test_update_document_executes_one_more_statement_to_read_it_first(
    client: AsyncClient, count_statements: Any, statements: list[str]
) -> None:
    path = f"/documents/{(await make_document(client, content=b'x'))['id']}"
    # After the response, the service looks for unused files. To remove one, it deletes its record
    # and looks again.
    for body, statements_before_response, statements_after_response in (
        (form_body(), 1, 0),
        (form_body(form_field("name", "x")), 2, 1),
        (form_body(form_file(b"y")), 3, 3),
        (form_body(form_field("name", "y"), form_file(b"z")), 3, 3),
    ):
        request = {"content": body, "headers": FORM_HEADERS}
        expected = (200, statements_before_response)
        assert await count_statements("PATCH", path, **request) == expected
        assert count_statements_after_response(statements) == statements_after_response


async def test_rejected_update_of_document_executes_one_statement(
    client: AsyncClient, count_statements: Any, statements: list[str]
) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    request = {"content": form_body(form_file(b"x")), "headers": FORM_HEADERS | STALE_IF_MATCH}
    assert await count_statements("PATCH", path, **request) == (412, 1)
    assert await count_statements("PATCH", f"/documents/{UNKNOWN_ID}", **request) == (404, 1)
    assert count_statements_after_response(statements) == 0


@pytest.mark.parametrize(("content", "statements_after_response"), [(None, 1), (b"x", 3)])
async def test_delete_document_executes_one_statement_before_response(
    client: AsyncClient,
    count_statements: Any,
    statements: list[str],
    content: bytes | None,
    statements_after_response: int,
) -> None:
    path = f"/documents/{(await make_document(client, content=content))['id']}"
    assert await count_statements("DELETE", path) == (204, 1)
    assert count_statements_after_response(statements) == statements_after_response
    assert await count_statements("DELETE", path) == (404, 1)
    assert count_statements_after_response(statements) == 0


async def test_invalid_form_executes_statements_only_for_its_file(count_statements: Any) -> None:
    repeated_field = form_field("name", "x") * 2
    # The four statements create the record of the file, mark it for deletion, select it and delete
    # it.
    for parts, statements in ((repeated_field, 0), (form_file(b"x") + repeated_field, 4)):
        request = {"content": form_body(parts), "headers": FORM_HEADERS}
        assert await count_statements("POST", "/documents", **request) == (422, statements)
    assert await count_statements("POST", "/documents", json={}) == (415, 0)


async def use_all_document_endpoints(
    client: AsyncClient, count_statements: Any
) -> list[tuple[int, int]]:
    """Send requests to all endpoints of documents.

    Return the status and the number of statements of each.
    """
    await make_document(client)
    path = f"/documents/{(await make_document(client, content=b'x'))['id']}"
    upload = await make_direct_upload(client, path, b"xyz")
    cursor = (await client.get("/documents?size=1")).json()["next"]
    with_name = {"content": form_body(NAME_FIELD), "headers": FORM_HEADERS}
    with_file = {"content": form_body(NAME_FIELD + form_file(b"x")), "headers": FORM_HEADERS}
    new_upload = {"filename": "a.pdf", "content_type": "application/pdf", "size": 3}
    return [
        await count_statements(method, url, **request)
        for method, url, request in (
            ("GET", "/documents", {}),
            ("GET", f"/documents?size=1&cursor={cursor}", {}),
            ("GET", "/documents?q=thesis&content_type=text/plain&count=exact", {}),
            ("GET", "/documents?size=0", {}),
            ("GET", path, {}),
            ("GET", path, {"headers": {"If-None-Match": "*"}}),
            ("GET", f"{path}/content", {}),
            ("GET", f"/documents/{UNKNOWN_ID}", {}),
            ("POST", "/documents", with_name),
            ("POST", "/documents", with_file),
            ("POST", f"{path}/uploads", {"json": new_upload}),
            ("GET", upload, {}),
            ("POST", f"{upload}/complete", {}),
            ("PATCH", path, with_name),
            ("PATCH", path, with_file),
            (
                "PATCH",
                path,
                {"content": form_body(NAME_FIELD), "headers": FORM_HEADERS | STALE_IF_MATCH},
            ),
            ("PATCH", f"/documents/{UNKNOWN_ID}", with_name),
            ("DELETE", path, {"headers": STALE_IF_MATCH}),
            ("DELETE", path, {}),
        )
    ]


async def test_token_executes_one_more_statement_at_every_document_endpoint(
    client: AsyncClient, count_statements: Any, database: Database
) -> None:
    results_without_token = await use_all_document_endpoints(client, count_statements)
    client.headers.update((await create_user_with_token(database)).headers)
    results_with_token = await use_all_document_endpoints(client, count_statements)
    # The total of the documents of one owner is always exact, so it needs no third statement.
    assert await count_statements("GET", "/documents?count=estimated") == (200, 2)
    assert results_with_token == [
        (status, statements + 1) for status, statements in results_without_token
    ]
    assert [status for status, _ in results_without_token] == [
        *(200, 200, 200, 422, 200, 304, 307, 404),
        *(201, 201, 201, 200, 200, 200, 200, 412, 404, 412, 204),
    ]
