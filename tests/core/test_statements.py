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

STALE = {"If-Match": '"7"'}
NAME = form_field("name", "Thesis")
JSON_CASES = [case for case in ENTITIES if not case.is_form]
ANSWERED = "the whole answer is sent"  # among the statements


@pytest.fixture
async def client(app: FastAPI, statements: list[str]) -> AsyncIterator[AsyncClient]:
    """A client that also notes when its answer was there: what follows it did not wait for."""

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        async def note(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                # After the statements before it, which are noted in the same way.
                asyncio.get_running_loop().call_soon(statements.append, ANSWERED)

        await app(scope, receive, note)

    async with AsyncClient(transport=ASGITransport(noting), base_url="http://test") as made:
        yield made


@pytest.fixture
def around(database: Database) -> Iterator[list[str]]:
    """What is sent beside the statements of sessions: BEGIN, COMMIT, ROLLBACK, a pool's pings."""
    sent: list[str] = []

    def note(statement: str, _: object) -> None:
        if is_sent_by_library(statement):
            sent.append(statement)

    with observe_all_statements(database, note):
        yield sent


@pytest.fixture
async def cost(
    client: AsyncClient, database: Database, statements: list[str], around: list[str]
) -> Any:
    """Sends a request; its status, and the number of statements that its answer took."""
    # The driver asks the server once per connection what an array of integers is.
    await client.delete(f"/authors/{NOBODY}", headers=STALE)

    async def measured(
        method: str, path: str, *, transaction_end: str = "", **request: Any
    ) -> tuple[int, int]:
        await wait_for_statement_callbacks()
        statements.clear()
        around.clear()
        answer = await client.request(method, path, **request)
        await database.wait_for_callbacks()
        await wait_for_statement_callbacks()
        words = [sent.split()[0].strip(";") for sent in around if "SAVEPOINT" not in sent]
        assert words == (["BEGIN", transaction_end] if transaction_end else [])
        return answer.status_code, statements.index(ANSWERED)

    return measured


def afterwards(statements: list[str]) -> int:
    """How many statements followed the last answer."""
    return len(statements) - statements.index(ANSWERED) - 1


async def test_no_statement_follows_an_answer(
    client: AsyncClient, cost: Any, statements: list[str]
) -> None:
    path = f"/authors/{(await make_author(client))['id']}"
    for method in ("GET", "DELETE"):
        await cost(method, path)
        assert afterwards(statements) == 0


async def test_the_test_would_notice_a_transaction(
    database: Database, statements: list[str], around: list[str]
) -> None:
    async with database.transaction() as session:
        await session.execute(text("SELECT 1"))
    await wait_for_statement_callbacks()
    assert statements == ["SELECT 1"]
    assert [sent.split()[0].strip(";") for sent in around[-2:]] == ["BEGIN", "COMMIT"]


async def test_reading_one_takes_one_statement(client: AsyncClient, cost: Any) -> None:
    book, user = await make_book(client), await make_user(client)
    for path in (f"/books/{book['id']}", f"/authors/{book['author_id']}", f"/users/{user['id']}"):
        assert await cost("GET", path) == (200, 1)
        assert await cost("HEAD", path) == (200, 1)
        known = {"If-None-Match": (await client.get(path)).headers["etag"]}
        assert await cost("GET", path, headers=known) == (304, 1)
    for path in (f"/books/{NOBODY}", f"/authors/{NOBODY}", "/users/1000000"):
        assert await cost("GET", path) == (404, 1)


async def test_a_list_takes_one_statement_however_long_it_is(
    client: AsyncClient, cost: Any
) -> None:
    first = await make_book(client)
    await make_user(client)
    lists = ["/authors", "/books", "/users", f"/authors/{first['author_id']}/books"]
    for path in lists:
        assert await cost("GET", path) == (200, 1)
    for number in range(49):
        await make_book(client, title=f"{number}")
        await make_book(client, title=f"{number}", author_id=first["author_id"])
    for path in lists:
        assert await cost("GET", path, params={"size": "50"}) == (200, 1)
        assert await cost("GET", path, params={"size": "50", "count": "none"}) == (200, 1)
        assert await cost("GET", path, params={"page": "2", "size": "20"}) == (200, 1)
        following = (await client.get(path, params={"size": "1"})).json()["next"]
        if following:
            cursor = {"size": "1", "cursor": following}
            assert await cost("GET", path, params=cursor) == (200, 1)
            assert await cost("GET", path, params=cursor | {"count": "exact"}) == (200, 1)


async def test_a_report_takes_one_statement_however_long_it_is(
    client: AsyncClient, cost: Any, database: Database
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
        assert await cost("GET", f"{path}?{query}") == (200, 1)
    assert await cost("HEAD", path) == (200, 1)
    assert await cost("GET", f"{path}?count=estimated") == (200, 2)
    assert await cost("GET", f"{path}?sort=day") == (422, 0)


async def test_an_empty_list_takes_one_statement(cost: Any) -> None:
    for path in ("/authors", "/books", "/users"):
        assert await cost("GET", path) == (200, 1)


async def test_an_estimate_takes_a_statement_of_its_own(client: AsyncClient, cost: Any) -> None:
    await make_author(client)
    assert await cost("GET", "/authors", params={"count": "estimated"}) == (200, 2)


async def test_an_empty_list_of_an_author_takes_a_second_look(
    client: AsyncClient, cost: Any
) -> None:
    author = await make_author(client)
    assert await cost("GET", f"/authors/{author['id']}/books") == (200, 2)
    assert await cost("GET", f"/authors/{NOBODY}/books") == (404, 2)


async def test_a_page_past_the_end_of_an_authors_books_takes_one_statement(
    client: AsyncClient, cost: Any
) -> None:
    path = f"/authors/{(await make_book(client))['author_id']}/books"
    assert await cost("GET", path, params={"page": "9"}) == (200, 1)


async def test_creating_takes_one_statement(client: AsyncClient, cost: Any) -> None:
    author = await make_author(client)
    user = {"name": "Ada", "email": "ada@example.com", "password": "correct horse"}
    assert await cost("POST", "/authors", json={"name": "Ursula"}) == (201, 1)
    body = {"title": "Kindred", "author_id": author["id"]}
    assert await cost("POST", "/books", json=body) == (201, 1)
    assert await cost("POST", "/books", json=body | {"author_id": NOBODY}) == (422, 1)
    assert await cost("POST", "/users", json=user) == (201, 1)
    assert await cost("POST", "/users", json=user) == (409, 1)


@pytest.mark.parametrize("case", JSON_CASES, ids=lambda case: case.plural)
async def test_each_standard_operation_of_an_entity_takes_one_statement(
    client: AsyncClient, cost: Any, case: EntityCase
) -> None:
    body = await valid_body(client, case)
    assert await cost("POST", case.path, json=body) == (201, 1)
    for query in ("", "?size=50", "?count=none", f"?sort=-{case.sorts[0]}"):
        assert await cost("GET", f"{case.path}{query}") == (200, 1)
    row = (await get_json(client, f"{case.path}?sort=-created_at"))["items"][0]
    item = f"{case.path}/{row['id']}"
    assert await cost("GET", item) == (200, 1)
    assert await cost("PATCH", item, json={}) == (200, 1)
    current = {"If-Match": f'"{row["version"]}"'}
    assert await cost("PATCH", item, json=case.update, headers=current) == (200, 1)
    assert await cost("DELETE", item) == (204, 1)


@pytest.mark.parametrize("case", JSON_CASES, ids=lambda case: case.plural)
async def test_an_empty_list_of_an_entity_takes_one_statement(cost: Any, case: EntityCase) -> None:
    assert await cost("GET", case.path) == (200, 1)


async def test_creating_many_takes_one_statement_and_a_look_for_who_is_missing(
    client: AsyncClient, cost: Any
) -> None:
    book = {"title": "Kindred", "author_id": (await make_author(client))["id"]}
    # As in `cost`: what arrays of ids and of titles are.
    await client.post("/books/batch", json={"items": [book]})
    for count in (1, 2, 1000):
        request = {"json": {"items": [book] * count}, "transaction_end": "COMMIT"}
        assert await cost("POST", "/books/batch", **request) == (201, 1)
    missing = book | {"author_id": NOBODY}
    for items in ([book, missing], [missing] * 1000):
        request = {"json": {"items": items}, "transaction_end": "ROLLBACK"}
        assert await cost("POST", "/books/batch", **request) == (422, 2)


@pytest.mark.parametrize("path", STREAMED_PATHS)
async def test_a_stream_declares_a_cursor_and_fetches_from_it_in_one_transaction(
    client: AsyncClient, database: Database, statements: list[str], around: list[str], path: str
) -> None:
    await fill_tables(database, 2 * FETCH_SIZE + 50)
    await wait_for_statement_callbacks()
    for accept in ("application/x-ndjson", "text/csv"):
        statements.clear()
        around.clear()
        await client.get(path, headers={"Accept": accept})
        await wait_for_statement_callbacks()
        declare, *fetches, answered = statements
        assert declare.startswith(f"DECLARE {TABLE_NAMES[path]} NO SCROLL CURSOR FOR SELECT ")
        assert set(fetches) == {f"FETCH FORWARD {FETCH_SIZE} FROM {TABLE_NAMES[path]}"}
        assert len(fetches) in {3, 4}  # the last one may find nothing
        assert answered == ANSWERED
        assert [sent.split()[0].strip(";") for sent in around] == ["BEGIN", "COMMIT"]


async def test_changing_takes_one_statement(client: AsyncClient, cost: Any) -> None:
    book, user = await make_book(client), await make_user(client)
    for path, change in (
        (f"/books/{book['id']}", {"title": "x"}),
        (f"/authors/{book['author_id']}", {"name": "x", "dob": None}),
        (f"/users/{user['id']}", {"name": "x", "password": "battery staple"}),
    ):
        assert await cost("PATCH", path, json={}) == (200, 1)
        current = {"If-Match": (await client.get(path)).headers["etag"]}
        assert await cost("PATCH", path, json={}, headers=current) == (200, 1)
        assert await cost("PATCH", path, json=change, headers=current) == (200, 1)
        assert await cost("PATCH", path, json=change) == (200, 1)


async def test_deleting_takes_one_statement(client: AsyncClient, cost: Any) -> None:
    book, user = await make_book(client), await make_user(client)
    author = f"/authors/{book['author_id']}"
    assert await cost("DELETE", author) == (409, 1)
    current = {"If-Match": f'"{book["version"]}"'}
    assert await cost("DELETE", f"/books/{book['id']}", headers=current) == (204, 1)
    assert await cost("DELETE", author) == (204, 1)
    assert await cost("DELETE", f"/users/{user['id']}") == (204, 1)


async def test_a_write_that_hits_nothing_may_look_again_for_the_reason(
    client: AsyncClient, cost: Any
) -> None:
    author = f"/authors/{(await make_author(client))['id']}"
    nobody = f"/authors/{NOBODY}"
    change = {"name": "x"}
    assert await cost("PATCH", author, json=change, headers=STALE) == (412, 2)
    assert await cost("DELETE", author, headers=STALE) == (412, 2)
    assert await cost("PATCH", nobody, json=change, headers=STALE) == (404, 2)
    assert await cost("DELETE", nobody, headers=STALE) == (404, 2)
    # Without a condition there is only one reason.
    assert await cost("PATCH", nobody, json=change) == (404, 1)
    assert await cost("DELETE", nobody) == (404, 1)
    assert await cost("PATCH", author, json={}, headers=STALE) == (412, 1)


async def test_a_request_that_is_refused_takes_no_statement(cost: Any) -> None:
    json = {"Content-Type": "application/json"}
    for path, status, request in (
        ("/authors", 422, {"json": {}}),
        ("/authors", 400, {"content": b"{", "headers": json}),
        ("/authors", 415, {"content": b"{}"}),
        ("/users", 422, {"json": {"name": "Ada", "email": "x", "password": "correct horse"}}),
        ("/nope", 404, {}),
        ("/livez", 405, {}),
    ):
        assert await cost("POST", path, **request) == (status, 0)
    for path, status in (
        ("/authors?size=0", 422),
        ("/authors?page=1&cursor=x", 422),
        ("/authors?cursor=x", 422),
        ("/authors?page=6000", 422),
        ("/authors/x", 422),
        (f"/authors/{NOBODY}/books?page=1&cursor=x", 422),
        ("/users/0", 422),
    ):
        assert await cost("GET", path) == (status, 0)
    assert await cost("DELETE", f"/authors/{NOBODY}", headers={"If-Match": "x"}) == (422, 0)
    assert await cost("OPTIONS", "/authors") == (204, 0)


async def test_what_needs_no_database_takes_no_statement(cost: Any) -> None:
    for path, status in (("/livez", 200), ("/docs", 200), ("/openapi.json", 200), ("/", 307)):
        assert await cost("GET", path) == (status, 0)


async def test_a_token_takes_one_statement_more_and_its_first_use_a_note(
    client: AsyncClient, database: Database, cost: Any
) -> None:
    await add_callers(database)
    await execute(database, "UPDATE tokens SET last_used_at = NULL")
    path = f"/books/{(await make_book(client))['id']}"
    headers = bearer_headers(TOKENS["owner"])
    assert await cost("GET", path) == (200, 1)
    for statements in (3, 2, 2):
        assert await cost("GET", path, headers=headers) == (200, statements)
    assert await cost("GET", path, headers=bearer_headers(change_hex_digit(TOKENS["owner"]))) == (
        401,
        0,
    )
    assert await cost("POST", "/authors", json={"name": "Ursula"}, headers=headers) == (403, 1)
    assert await cost("GET", "/users/me", headers=headers) == (200, 2)


async def test_readiness_takes_one_statement(cost: Any) -> None:
    assert await cost("GET", "/readyz") == (200, 1)


async def test_reading_documents_takes_one_statement(client: AsyncClient, cost: Any) -> None:
    await make_document(client)
    path = f"/documents/{(await make_document(client, content=b'x'))['id']}"
    for where in (path, "/documents", "/documents?sort=size&count=none&content_type=text/plain"):
        assert await cost("GET", where) == (200, 1)
    assert await cost("GET", path, headers={"If-None-Match": '"1"'}) == (304, 1)
    assert await cost("GET", f"{path}/content") == (307, 1)
    assert await cost("GET", f"/documents/{NOBODY}") == (404, 1)


async def test_creating_a_document_takes_one_statement_and_its_file_another(cost: Any) -> None:
    name, large = form_field("name", "Thesis"), form_file(bytes(9 * 1024 * 1024))
    for parts, statements in ((name, 1), (name + form_file(b"x"), 2), (name + large, 2)):
        request = {"content": form_body(parts), "headers": FORM_HEADERS}
        assert await cost("POST", "/documents", **request) == (201, statements)


async def test_changing_a_document_takes_one_statement_more_to_look_first(
    client: AsyncClient, cost: Any, statements: list[str]
) -> None:
    path = f"/documents/{(await make_document(client, content=b'x'))['id']}"
    # Afterwards it looks for files to remove; one takes its record and a second look.
    for parts, before, after in (
        (form_body(), 1, 0),
        (form_body(form_field("name", "x")), 2, 1),
        (form_body(form_file(b"y")), 3, 3),
        (form_body(form_field("name", "y"), form_file(b"z")), 3, 3),
    ):
        assert await cost("PATCH", path, content=parts, headers=FORM_HEADERS) == (200, before)
        assert afterwards(statements) == after


async def test_a_change_of_a_document_that_is_in_vain_takes_one_statement(
    client: AsyncClient, cost: Any, statements: list[str]
) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    request = {"content": form_body(form_file(b"x")), "headers": FORM_HEADERS | STALE}
    assert await cost("PATCH", path, **request) == (412, 1)
    assert await cost("PATCH", f"/documents/{NOBODY}", **request) == (404, 1)
    assert afterwards(statements) == 0


@pytest.mark.parametrize(("content", "after"), [(None, 1), (b"x", 3)])
async def test_deleting_a_document_takes_one_statement_before_the_answer(
    client: AsyncClient, cost: Any, statements: list[str], content: bytes | None, after: int
) -> None:
    path = f"/documents/{(await make_document(client, content=content))['id']}"
    assert await cost("DELETE", path) == (204, 1)
    assert afterwards(statements) == after
    assert await cost("DELETE", path) == (404, 1)
    assert afterwards(statements) == 0


async def test_a_form_that_is_refused_takes_no_statement_but_its_files(cost: Any) -> None:
    twice = form_field("name", "x") * 2
    # A file was recorded before its first byte, condemned, looked at, and forgotten.
    for parts, statements in ((twice, 0), (form_file(b"x") + twice, 4)):
        request = {"content": form_body(parts), "headers": FORM_HEADERS}
        assert await cost("POST", "/documents", **request) == (422, statements)
    assert await cost("POST", "/documents", json={}) == (415, 0)


async def costs_of_own_documents(client: AsyncClient, cost: Any) -> list[tuple[int, int]]:
    """All that one does with documents of one's own: each status, and the statements it took."""
    await make_document(client)
    path = f"/documents/{(await make_document(client, content=b'x'))['id']}"
    upload = await make_direct_upload(client, path, b"xyz")
    cursor = (await client.get("/documents?size=1")).json()["next"]
    named, filed = (
        {"content": form_body(part), "headers": FORM_HEADERS}
        for part in (NAME, NAME + form_file(b"x"))
    )
    announced = {"filename": "a.pdf", "content_type": "application/pdf", "size": 3}
    return [
        await cost(method, where, **request)
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
            ("PATCH", path, {"content": form_body(NAME), "headers": FORM_HEADERS | STALE}),
            ("PATCH", f"/documents/{NOBODY}", named),
            ("DELETE", path, {"headers": STALE}),
            ("DELETE", path, {}),
        )
    ]


async def test_a_token_takes_one_statement_more_whatever_is_asked(
    client: AsyncClient, cost: Any, database: Database
) -> None:
    without = await costs_of_own_documents(client, cost)
    client.headers.update((await create_user_with_token(database)).headers)
    with_one = await costs_of_own_documents(client, cost)
    assert await cost("GET", "/documents?count=estimated") == (200, 2)  # counted with the page
    assert with_one == [(status, statements + 1) for status, statements in without]
    assert [status for status, _ in without] == [
        *(200, 200, 200, 422, 200, 304, 307, 404),
        *(201, 201, 201, 200, 200, 200, 200, 412, 404, 412, 204),
    ]
