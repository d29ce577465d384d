"""What Postgres makes of the lists' statements at a size where it matters.

Only plans are looked at, never times. The statements are those that a request really sends.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from httpx import AsyncClient
from starlette.types import Message

from app.core.db import Database
from app.main import create_app
from tests.conftest import make_settings
from tests.support import servers
from tests.support.clients_with_tokens import create_user_with_token
from tests.support.large_database import (
    DEEP_PAGE_NUMBERS,
    GENERATED_CASES,
    OWNER_ID,
    large_database_sql,
)
from tests.support.resources import replace_resources
from tests.support.responses import get_json
from tests.support.rows import (
    AUTHOR_ID,
    COLLECTION_PATHS,
    LIST_PATHS,
    SEARCH_WORDS,
    SORT_KEYS,
    TABLE_NAMES,
)
from tests.support.statements import observe_session_statements, wait_for_statement_callbacks
from tests.support.streamed_lists import CSV, NDJSON, STREAMED_PATHS, asgi_scope

# With `pytest --dist loadfile` one process makes the large database, and only that one.
pytestmark = pytest.mark.private_database

COUNTS = "/reports/user-counts"
SINGLE = [
    (path, sign + key) for path, keys in SORT_KEYS.items() for key in keys for sign in ("", "-")
] + [(path, "") for path in LIST_PATHS]
# What a failed test says before the plan.
NO_INDEX = "The list is not read from an index in this order: add an index of the sort key and id"

Node = dict[str, Any]
Sent = list[tuple[str, Any]]


@pytest.fixture(scope="module")
async def library(template_url: str) -> AsyncIterator[str]:
    """The URL of a large database, made once for all tests here."""
    async with servers.copy_with_rows(template_url, large_database_sql()) as url:
        yield url


@pytest.fixture
def private_database_url(library: str) -> str:
    return library


@pytest.fixture
def sent(database: Database) -> Iterator[Sent]:
    """Every statement that is sent from now on, with its parameters; not who asks."""
    found: Sent = []

    def note(statement: str, parameters: Any) -> None:
        if "FROM tokens" not in statement:
            found.append((statement, parameters))

    with observe_session_statements(database, note):
        yield found


@pytest.fixture
async def owner(client: AsyncClient, database: Database) -> AsyncClient:
    """A client with a token of OWNER's."""
    client.headers.update((await create_user_with_token(database, user_id=OWNER_ID)).headers)
    return client


async def executed(client: AsyncClient, database: Database, sent: Sent, url: str) -> list[Node]:
    """Those nodes of the plan that were run at all."""
    nodes = await plan(client, database, sent, url, "ANALYZE, FORMAT JSON")
    return [node for node in nodes if node["Actual Loops"]]


async def plan(
    client: AsyncClient, database: Database, sent: Sent, url: str, options: str = "FORMAT JSON"
) -> list[Node]:
    """The nodes of the plan for the one statement that this request sends, from the top down."""
    await wait_for_statement_callbacks()
    sent.clear()
    await get_json(client, url)
    await wait_for_statement_callbacks()
    [(statement, parameters)] = sent
    async with database.engine.connect() as connection:
        explain = f"EXPLAIN ({options}) {statement}"
        result = await connection.exec_driver_sql(explain, parameters)
        [tree] = result.scalars().one()
    return list(_nodes(tree["Plan"]))


async def plan_of_cursor(
    database: Database, sent: Sent, path: str, query: str, accept: str
) -> list[Node]:
    """The plan of the cursor that a stream declares; the stream is not read to its end."""
    app = create_app(make_settings("postgresql:///unused"))
    replace_resources(app, database=database)
    await wait_for_statement_callbacks()
    sent.clear()
    gone = asyncio.Event()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            gone.set()
            await asyncio.Event().wait()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    await app(asgi_scope(path, accept, query), receive, send)
    (statement, parameters), *_fetches = sent
    async with database.engine.connect() as connection:
        explain = f"EXPLAIN (FORMAT JSON) {statement}"
        result = await connection.exec_driver_sql(explain, parameters)
        [tree] = result.scalars().one()
    return list(_nodes(tree["Plan"]))


def _nodes(node: Node) -> Iterator[Node]:
    """The nodes of a plan, without those that collect an embedded list for each row."""
    yield node
    for child in node.get("Plans", ()):
        is_embedded_list = child["Node Type"] == "Aggregate" and (
            child["Parent Relationship"] == "Inner"
        )
        if not is_embedded_list:
            yield from _nodes(child)


def below_limit(nodes: list[Node]) -> list[Node]:
    [limit] = [node for node in nodes if node["Node Type"] == "Limit"]
    return list(_nodes(limit))[1:]


def types(nodes: list[Node]) -> list[str]:
    return [node["Node Type"] for node in nodes]


async def cursor_at_depth(client: AsyncClient, path: str, sort: str) -> str:
    page = await get_json(client, f"{path}?count=none&page={DEEP_PAGE_NUMBERS[path]}{sort}")
    cursor: str = page["next"]
    return cursor


def assert_read_in_order(nodes: list[Node]) -> None:
    """The rows of the page come from an index in their order; then authors are joined to them."""
    scan, *rest = below_limit(nodes)
    assert not rest, f"{NO_INDEX}: {types(nodes)}"
    assert scan["Node Type"] in {"Index Scan", "Index Only Scan"}
    assert "Filter" not in scan
    assert "Seq Scan" not in types(nodes)


@pytest.mark.parametrize(("path", "sort"), SINGLE)
async def test_a_first_page_is_read_from_an_index_in_order(
    client: AsyncClient, database: Database, sent: Sent, path: str, sort: str
) -> None:
    sort = f"&sort={sort}" if sort else ""
    assert_read_in_order(await plan(client, database, sent, f"{path}?count=none{sort}"))


@pytest.mark.parametrize(("path", "sort"), SINGLE)
async def test_a_deep_page_is_read_from_an_index_from_the_cursor_on(
    client: AsyncClient, database: Database, sent: Sent, path: str, sort: str
) -> None:
    sort = f"&sort={sort}" if sort else ""
    cursor = await cursor_at_depth(client, path, sort)
    nodes = await plan(client, database, sent, f"{path}?cursor={cursor}{sort}")
    assert_read_in_order(nodes)
    assert "ROW(" in below_limit(nodes)[0]["Index Cond"]


@pytest.mark.parametrize(
    ("path", "sort"),
    [
        *[(c.path, f"{c.sorts[0]},-{c.sorts[1]}") for c in GENERATED_CASES if len(c.sorts) > 1],
        ("/authors", "name,dob"),
        ("/authors", "-name,dob"),
        ("/authors", "dob,-name"),
        ("/books", "title,created_at"),
        ("/books", "title,-created_at"),
        ("/books", "-title,updated_at"),
        ("/users", "name,-email"),
    ],
)
async def test_a_deep_page_by_several_keys_starts_at_the_cursor_too(
    client: AsyncClient, database: Database, sent: Sent, path: str, sort: str
) -> None:
    cursor = await cursor_at_depth(client, path, f"&sort={sort}")
    nodes = below_limit(await plan(client, database, sent, f"{path}?cursor={cursor}&sort={sort}"))
    # The index has the first key only: rows that are equal in it are sorted, and no others.
    assert types(nodes) == ["Incremental Sort", "Index Scan"]
    assert sort.split(",", maxsplit=1)[0].strip("-") in nodes[1]["Index Cond"]


@pytest.mark.parametrize("sort", [sort for path, sort in SINGLE if path == "/documents"])
async def test_every_page_of_an_owners_documents_is_read_from_an_index_in_order(
    owner: AsyncClient, database: Database, sent: Sent, sort: str
) -> None:
    sort = f"&sort={sort}" if sort else ""
    first = await plan(owner, database, sent, f"/documents?count=none{sort}")
    deep = (await get_json(owner, f"/documents?count=none&page=40{sort}"))["next"]
    later = await plan(owner, database, sent, f"/documents?cursor={deep}{sort}")
    for nodes, condition in ((first, "owner_id"), (later, "ROW(")):
        assert_read_in_order(nodes)
        [scan] = below_limit(nodes)
        assert scan["Index Name"].startswith("ix_documents_owner_id_")
        assert condition in scan["Index Cond"]


async def test_an_owners_documents_are_counted_and_found_without_reading_those_of_others(
    owner: AsyncClient, database: Database, sent: Sent
) -> None:
    for query in ("count=exact", "q=n&sort=-name", "content_type=text/plain&sort=size"):
        nodes = await executed(owner, database, sent, f"/documents?{query}")
        scans = [node for node in nodes if node.get("Relation Name") == "documents"]
        rows = [
            (scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)) * scan["Actual Loops"]
            for scan in scans
        ]
        assert len(scans) >= 2, query
        assert max(rows) <= 937, query


async def test_an_estimate_of_an_owners_documents_tells_nothing_of_others(
    owner: AsyncClient,
) -> None:
    # The planner knows how frequent a type is among everybody's: a guess would tell.
    for query, total in {"": 937, "&content_type=image/png": 12}.items():
        assert (await get_json(owner, f"/documents?count=estimated{query}"))["total"] == total, (
            query
        )


async def test_the_documents_of_a_user_who_is_deleted_are_found_by_an_index(
    outside_connection: asyncpg.Connection,
) -> None:
    # The plan of a cascade is not for EXPLAIN to show; what it has read is.
    read = """
        SELECT relname, seq_tup_read FROM pg_stat_xact_user_tables
        WHERE relname IN ('documents', 'stored_objects')
    """
    undone = outside_connection.transaction()
    await undone.start()
    await outside_connection.execute("DELETE FROM users WHERE id = $1", OWNER_ID)
    documents = await outside_connection.fetchval(
        "SELECT n_tup_del FROM pg_stat_xact_user_tables WHERE relname = 'documents'"
    )
    found = dict(map(tuple, await outside_connection.fetch(read)))
    await undone.rollback()
    assert (documents, found) == (937, {"documents": 0, "stored_objects": 0})


@pytest.mark.parametrize("count", ["exact", "none"])
# Every list has the word in fifty rows, except authors, which have a test of their own.
@pytest.mark.parametrize(
    "path", [p for p in COLLECTION_PATHS if p in SEARCH_WORDS and p != "/authors"]
)
async def test_a_selective_search_uses_the_gin_index(
    client: AsyncClient, database: Database, sent: Sent, path: str, count: str
) -> None:
    nodes = await executed(client, database, sent, f"{path}?q=RÁRE&count={count}")
    scans = [node for node in nodes if node["Node Type"] == "Bitmap Index Scan"]
    assert {scan["Index Name"] for scan in scans} == {f"ix_{TABLE_NAMES[path]}_search"}
    assert len(scans) == (2 if count == "exact" else 1)
    assert "Seq Scan" not in types(nodes)


async def test_a_search_for_two_words_uses_the_gin_index(
    client: AsyncClient, database: Database, sent: Sent
) -> None:
    nodes = await executed(client, database, sent, "/authors?q=n123+f456&count=exact")
    assert types(nodes).count("Bitmap Index Scan") == 2
    assert "Seq Scan" not in types(nodes)


@pytest.mark.parametrize(
    ("url", "index"),
    [
        *[
            (f"{c.path}?id={AUTHOR_ID}", f"pk_{c.plural}")
            for c in GENERATED_CASES
            if c.has_id_filter
        ],
        (f"/authors?id={AUTHOR_ID}", "pk_authors"),
        (f"/books?id={AUTHOR_ID}&sort=title", "pk_books"),
        ("/users?email=E1@example.com", "uq_users_email"),
        (f"/books?author_id={AUTHOR_ID}&count=none", "ix_books_author_id_created_at_id"),
        ("/documents?content_type=image/png&count=none", "ix_documents_content_type_created_at_id"),
        (
            "/books?created_from=2020-05-01T00:00:00Z&created_to=2020-05-01T01:00:00Z",
            "ix_books_created_at_id",
        ),
    ],
)
async def test_a_selective_filter_uses_its_index(
    client: AsyncClient, database: Database, sent: Sent, url: str, index: str
) -> None:
    nodes = await plan(client, database, sent, url)
    assert index in {node.get("Index Name") for node in nodes}
    assert "Seq Scan" not in types(nodes)


async def test_a_page_is_joined_to_no_more_authors_than_it_has_books(
    client: AsyncClient, database: Database, sent: Sent
) -> None:
    nodes = await plan(client, database, sent, "/books?page=2000&count=none")
    [limit] = [node for node in nodes if node["Node Type"] == "Limit"]
    assert not any("author" in str(node.get("Relation Name")) for node in _nodes(limit))
    joined = [node for node in nodes if node.get("Relation Name") == "authors"]
    assert [node.get("Index Name") for node in joined] == ["pk_authors"]


async def test_the_counts_of_users_are_read_from_the_index_of_their_key(
    client: AsyncClient, database: Database, sent: Sent
) -> None:
    cursor = await cursor_at_depth(client, COUNTS, "")
    for where, condition in ((f"?cursor={cursor}", True), ("?count=none", False)):
        nodes = await plan(client, database, sent, COUNTS + where)
        assert_read_in_order(nodes)
        [scan] = below_limit(nodes)
        assert scan["Index Name"] == "pk_user_counts"
        assert scan["Scan Direction"] == "Backward"
        assert ("Index Cond" in scan) == condition


@pytest.mark.parametrize(
    ("path", "sort"), [(path, sort) for path, sort in SINGLE if path in STREAMED_PATHS]
)
@pytest.mark.parametrize("accept", [NDJSON, CSV])
async def test_a_stream_is_read_from_an_index_in_order(
    database: Database, sent: Sent, path: str, sort: str, accept: str
) -> None:
    nodes = await plan_of_cursor(database, sent, path, f"sort={sort}" if sort else "", accept)
    assert not any("Sort" in kind for kind in types(nodes)), f"{NO_INDEX}: {types(nodes)}"
    scan = next(node for node in nodes if node.get("Relation Name") == TABLE_NAMES[path])
    assert scan["Node Type"] == "Index Scan"
    assert "Filter" not in scan


async def test_a_stream_of_an_authors_books_is_read_from_their_index(
    database: Database, sent: Sent
) -> None:
    nodes = await plan_of_cursor(
        database, sent, "/books", f"author_id={AUTHOR_ID}&sort=-title", CSV
    )
    assert not any("Sort" in kind for kind in types(nodes))
    assert "ix_books_author_id_title_id" in {node.get("Index Name") for node in nodes}
