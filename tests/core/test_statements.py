"""The budget of SQL statements per request, and nothing else between them on the wire."""

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
from tests.authors.test_authors import NOBODY
from tests.support.accounts import bearer_headers
from tests.support.callers import TOKENS, add_callers, change_hex_digit
from tests.support.clients_with_tokens import create_user_with_token
from tests.support.entities import ENTITIES
from tests.support.entity_case import EntityCase
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
from tests.support.streamed_lists import STREAMED_PATHS

pytestmark = pytest.mark.private_database

STALE_IF_MATCH = {"If-Match": '"7"'}
NAME_FIELD = form_field("name", "Thesis")
JSON_CASES = [case for case in ENTITIES if not case.is_form]
RESPONSE_SENT = "the whole answer is sent"  # among the statements


@pytest.fixture
async def client(app: FastAPI, statements: list[str]) -> AsyncIterator[AsyncClient]:
    """A client that also notes when its answer was there: what follows it did not wait for."""

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        async def note(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                # After the statements before it, which are noted in the same way.
                asyncio.get_running_loop().call_soon(statements.append, RESPONSE_SENT)

        await app(scope, receive, note)

    async with AsyncClient(transport=ASGITransport(noting), base_url="http://test") as made:
        yield made


@pytest.fixture
def library_statements(database: Database) -> Iterator[list[str]]:
    """What is sent beside the statements of sessions: BEGIN, COMMIT, ROLLBACK, a pool's pings."""
    sent: list[str] = []

    def note(statement: str, _: object) -> None:
        if is_sent_by_library(statement):
            sent.append(statement)

    with observe_all_statements(database, note):
        yield sent


@pytest.fixture
async def count_statements(
    client: AsyncClient, database: Database, statements: list[str], library_statements: list[str]
) -> Any:
    """Sends a request; its status, and the number of statements that its answer took."""
    # The driver asks the server once per connection what an array of integers is.
    await client.delete(f"/authors/{NOBODY}", headers=STALE_IF_MATCH)

    async def measured(
        method: str, path: str, *, transaction_end: str = "", **request: Any
    ) -> tuple[int, int]:
        await wait_for_statement_callbacks()
        statements.clear()
        library_statements.clear()
        answer = await client.request(method, path, **request)
        await database.wait_for_callbacks()
        await wait_for_statement_callbacks()
        words = [
            sent.split()[0].strip(";") for sent in library_statements if "SAVEPOINT" not in sent
        ]
        assert words == (["BEGIN", transaction_end] if transaction_end else [])
        return answer.status_code, statements.index(RESPONSE_SENT)

    return measured


def count_statements_after_response(statements: list[str]) -> int:
    """How many statements followed the last answer."""
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
    assert [sent.split()[0].strip(";") for sent in library_statements[-2:]] == ["BEGIN", "COMMIT"]


async def test_get_executes_one_statement(client: AsyncClient, count_statements: Any) -> None:
    book, user = await make_book(client), await make_user(client)
    for path in (f"/books/{book['id']}", f"/authors/{book['author_id']}", f"/users/{user['id']}"):
        assert await count_statements("GET", path) == (200, 1)
        assert await count_statements("HEAD", path) == (200, 1)
        known = {"If-None-Match": (await client.get(path)).headers["etag"]}
        assert await count_statements("GET", path, headers=known) == (304, 1)
    for path in (f"/books/{NOBODY}", f"/authors/{NOBODY}", "/users/1000000"):
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
        following = (await client.get(path, params={"size": "1"})).json()["next"]
        if following:
            cursor = {"size": "1", "cursor": following}
            assert await count_statements("GET", path, params=cursor) == (200, 1)
            assert await count_statements("GET", path, params=cursor | {"count": "exact"}) == (
                200,
                1,
            )


async def test_report_of_any_length_executes_one_statement(
    client: AsyncClient, count_statements: Any, database: Database
) -> None:
    path = "/reports/user-counts"
    await client.get(path)  # the first statement of its engine: SQLAlchemy asks for the version
    await execute(
        database,
        "INSERT INTO user_counts (day, count) "
        "SELECT date '2026-01-01' + n, n FROM generate_series(1, 50) n",
    )
    cursor = (await client.get(path)).json()["next"]
    for query in ("", "size=50", "count=none", "page=2", f"cursor={cursor}"):
        assert await count_statements("GET", f"{path}?{query}") == (200, 1)
    assert await count_statements("HEAD", path) == (200, 1)
    assert await count_statements("GET", f"{path}?count=estimated") == (200, 2)
    assert await count_statements("GET", f"{path}?sort=day") == (422, 0)


async def test_empty_list_executes_one_statement(count_statements: Any) -> None:
    for path in ("/authors", "/books", "/users"):
        assert await count_statements("GET", path) == (200, 1)


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
    assert await count_statements("GET", f"/authors/{NOBODY}/books") == (404, 2)


async def test_page_past_end_of_authors_books_executes_one_statement(
    client: AsyncClient, count_statements: Any
) -> None:
    path = f"/authors/{(await make_book(client))['author_id']}/books"
    assert await count_statements("GET", path, params={"page": "9"}) == (200, 1)


async def test_create_executes_one_statement(client: AsyncClient, count_statements: Any) -> None:
    author = await make_author(client)
    user = {"name": "Ada", "email": "ada@example.com", "password": "correct horse"}
    assert await count_statements("POST", "/authors", json={"name": "Ursula"}) == (201, 1)
    body = {"title": "Kindred", "author_id": author["id"]}
    assert await count_statements("POST", "/books", json=body) == (201, 1)
    assert await count_statements("POST", "/books", json=body | {"author_id": NOBODY}) == (422, 1)
    assert await count_statements("POST", "/users", json=user) == (201, 1)
    assert await count_statements("POST", "/users", json=user) == (409, 1)


@pytest.mark.parametrize("case", JSON_CASES, ids=lambda case: case.plural)
async def test_each_operation_of_entity_executes_one_statement(
    client: AsyncClient, count_statements: Any, case: EntityCase
) -> None:
    body = await valid_body(client, case)
    assert await count_statements("POST", case.path, json=body) == (201, 1)
    for query in ("", "?size=50", "?count=none", f"?sort=-{case.sorts[0]}"):
        assert await count_statements("GET", f"{case.path}{query}") == (200, 1)
    row = (await get_json(client, f"{case.path}?sort=-created_at"))["items"][0]
    item = f"{case.path}/{row['id']}"
    assert await count_statements("GET", item) == (200, 1)
    assert await count_statements("PATCH", item, json={}) == (200, 1)
    current = {"If-Match": f'"{row["version"]}"'}
    assert await count_statements("PATCH", item, json=case.update, headers=current) == (200, 1)
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
    # As in `count_statements`: what arrays of ids and of titles are.
    await client.post("/books/batch", json={"items": [book]})
    for count in (1, 2, 1000):
        request = {"json": {"items": [book] * count}, "transaction_end": "COMMIT"}
        assert await count_statements("POST", "/books/batch", **request) == (201, 1)
    missing = book | {"author_id": NOBODY}
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
    for accept in ("application/x-ndjson", "text/csv"):
        statements.clear()
        library_statements.clear()
        await client.get(path, headers={"Accept": accept})
        await wait_for_statement_callbacks()
        declare, *fetches, answered = statements
        assert declare.startswith(f"DECLARE {TABLE_NAMES[path]} NO SCROLL CURSOR FOR SELECT ")
        assert set(fetches) == {f"FETCH FORWARD {FETCH_SIZE} FROM {TABLE_NAMES[path]}"}
        assert len(fetches) in {3, 4}  # the last one may find nothing
        assert answered == RESPONSE_SENT
        assert [sent.split()[0].strip(";") for sent in library_statements] == ["BEGIN", "COMMIT"]


async def test_update_executes_one_statement(client: AsyncClient, count_statements: Any) -> None:
    book, user = await make_book(client), await make_user(client)
    for path, change in (
        (f"/books/{book['id']}", {"title": "x"}),
        (f"/authors/{book['author_id']}", {"name": "x", "dob": None}),
        (f"/users/{user['id']}", {"name": "x", "password": "battery staple"}),
    ):
        assert await count_statements("PATCH", path, json={}) == (200, 1)
        current = {"If-Match": (await client.get(path)).headers["etag"]}
        assert await count_statements("PATCH", path, json={}, headers=current) == (200, 1)
        assert await count_statements("PATCH", path, json=change, headers=current) == (200, 1)
        assert await count_statements("PATCH", path, json=change) == (200, 1)


async def test_delete_executes_one_statement(client: AsyncClient, count_statements: Any) -> None:
    book, user = await make_book(client), await make_user(client)
    author = f"/authors/{book['author_id']}"
    assert await count_statements("DELETE", author) == (409, 1)
    current = {"If-Match": f'"{book["version"]}"'}
    assert await count_statements("DELETE", f"/books/{book['id']}", headers=current) == (204, 1)
    assert await count_statements("DELETE", author) == (204, 1)
    assert await count_statements("DELETE", f"/users/{user['id']}") == (204, 1)


async def test_write_that_matches_no_row_executes_second_statement_to_explain_it(
    client: AsyncClient, count_statements: Any
) -> None:
    author = f"/authors/{(await make_author(client))['id']}"
    nobody = f"/authors/{NOBODY}"
    change = {"name": "x"}
    assert await count_statements("PATCH", author, json=change, headers=STALE_IF_MATCH) == (412, 2)
    assert await count_statements("DELETE", author, headers=STALE_IF_MATCH) == (412, 2)
    assert await count_statements("PATCH", nobody, json=change, headers=STALE_IF_MATCH) == (404, 2)
    assert await count_statements("DELETE", nobody, headers=STALE_IF_MATCH) == (404, 2)
    # Without a condition there is only one reason.
    assert await count_statements("PATCH", nobody, json=change) == (404, 1)
    assert await count_statements("DELETE", nobody) == (404, 1)
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
        (f"/authors/{NOBODY}/books?page=1&cursor=x", 422),
        ("/users/0", 422),
    ):
        assert await count_statements("GET", path) == (status, 0)
    assert await count_statements("DELETE", f"/authors/{NOBODY}", headers={"If-Match": "x"}) == (
        422,
        0,
    )
    assert await count_statements("OPTIONS", "/authors") == (204, 0)


async def test_endpoint_without_data_executes_no_statement(count_statements: Any) -> None:
    for path, status in (("/livez", 200), ("/docs", 200), ("/openapi.json", 200), ("/", 307)):
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
    assert await count_statements(
        "GET", path, headers=bearer_headers(change_hex_digit(TOKENS["owner"]))
    ) == (401, 0)
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
    for where in (path, "/documents", "/documents?sort=size&count=none&content_type=text/plain"):
        assert await count_statements("GET", where) == (200, 1)
    assert await count_statements("GET", path, headers={"If-None-Match": '"1"'}) == (304, 1)
    assert await count_statements("GET", f"{path}/content") == (307, 1)
    assert await count_statements("GET", f"/documents/{NOBODY}") == (404, 1)


async def test_create_document_executes_one_statement_and_another_for_file(
    count_statements: Any,
) -> None:
    name, large = form_field("name", "Thesis"), form_file(bytes(9 * 1024 * 1024))
    for parts, statements in ((name, 1), (name + form_file(b"x"), 2), (name + large, 2)):
        request = {"content": form_body(parts), "headers": FORM_HEADERS}
        assert await count_statements("POST", "/documents", **request) == (201, statements)


async def test_update_document_executes_one_more_statement_to_read_it_first(
    client: AsyncClient, count_statements: Any, statements: list[str]
) -> None:
    path = f"/documents/{(await make_document(client, content=b'x'))['id']}"
    # Afterwards it looks for files to remove; one takes its record and a second look.
    for parts, before, after in (
        (form_body(), 1, 0),
        (form_body(form_field("name", "x")), 2, 1),
        (form_body(form_file(b"y")), 3, 3),
        (form_body(form_field("name", "y"), form_file(b"z")), 3, 3),
    ):
        assert await count_statements("PATCH", path, content=parts, headers=FORM_HEADERS) == (
            200,
            before,
        )
        assert count_statements_after_response(statements) == after


async def test_rejected_update_of_document_executes_one_statement(
    client: AsyncClient, count_statements: Any, statements: list[str]
) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    request = {"content": form_body(form_file(b"x")), "headers": FORM_HEADERS | STALE_IF_MATCH}
    assert await count_statements("PATCH", path, **request) == (412, 1)
    assert await count_statements("PATCH", f"/documents/{NOBODY}", **request) == (404, 1)
    assert count_statements_after_response(statements) == 0


@pytest.mark.parametrize(("content", "after"), [(None, 1), (b"x", 3)])
async def test_delete_document_executes_one_statement_before_response(
    client: AsyncClient,
    count_statements: Any,
    statements: list[str],
    content: bytes | None,
    after: int,
) -> None:
    path = f"/documents/{(await make_document(client, content=content))['id']}"
    assert await count_statements("DELETE", path) == (204, 1)
    assert count_statements_after_response(statements) == after
    assert await count_statements("DELETE", path) == (404, 1)
    assert count_statements_after_response(statements) == 0


async def test_invalid_form_executes_statements_only_for_its_file(count_statements: Any) -> None:
    twice = form_field("name", "x") * 2
    # A file was recorded before its first byte, condemned, looked at, and forgotten.
    for parts, statements in ((twice, 0), (form_file(b"x") + twice, 4)):
        request = {"content": form_body(parts), "headers": FORM_HEADERS}
        assert await count_statements("POST", "/documents", **request) == (422, statements)
    assert await count_statements("POST", "/documents", json={}) == (415, 0)


async def use_all_document_endpoints(
    client: AsyncClient, count_statements: Any
) -> list[tuple[int, int]]:
    """All that one does with documents of one's own: each status, and the statements it took."""
    await make_document(client)
    path = f"/documents/{(await make_document(client, content=b'x'))['id']}"
    upload = await make_direct_upload(client, path, b"xyz")
    cursor = (await client.get("/documents?size=1")).json()["next"]
    named, filed = (
        {"content": form_body(part), "headers": FORM_HEADERS}
        for part in (NAME_FIELD, NAME_FIELD + form_file(b"x"))
    )
    announced = {"filename": "a.pdf", "content_type": "application/pdf", "size": 3}
    return [
        await count_statements(method, where, **request)
        for method, where, request in (
            ("GET", "/documents", {}),
            ("GET", f"/documents?size=1&cursor={cursor}", {}),
            ("GET", "/documents?q=thesis&content_type=text/plain&count=exact", {}),
            ("GET", "/documents?size=0", {}),
            ("GET", path, {}),
            ("GET", path, {"headers": {"If-None-Match": "*"}}),
            ("GET", f"{path}/content", {}),
            ("GET", f"/documents/{NOBODY}", {}),
            ("POST", "/documents", named),
            ("POST", "/documents", filed),
            ("POST", f"{path}/uploads", {"json": announced}),
            ("GET", upload, {}),
            ("POST", f"{upload}/complete", {}),
            ("PATCH", path, named),
            ("PATCH", path, filed),
            (
                "PATCH",
                path,
                {"content": form_body(NAME_FIELD), "headers": FORM_HEADERS | STALE_IF_MATCH},
            ),
            ("PATCH", f"/documents/{NOBODY}", named),
            ("DELETE", path, {"headers": STALE_IF_MATCH}),
            ("DELETE", path, {}),
        )
    ]


async def test_token_executes_one_more_statement_at_every_document_endpoint(
    client: AsyncClient, count_statements: Any, database: Database
) -> None:
    without = await use_all_document_endpoints(client, count_statements)
    client.headers.update((await create_user_with_token(database)).headers)
    with_one = await use_all_document_endpoints(client, count_statements)
    assert await count_statements("GET", "/documents?count=estimated") == (
        200,
        2,
    )  # counted with the page
    assert with_one == [(status, statements + 1) for status, statements in without]
    assert [status for status, _ in without] == [
        *(200, 200, 200, 422, 200, 304, 307, 404),
        *(201, 201, 201, 200, 200, 200, 200, 412, 404, 412, 204),
    ]
