"""The plans that Postgres chooses for the statements of lists in a large database.

The tests send a request, and then explain the statement that the service has sent for it. They do
not measure times.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from httpx import AsyncClient
from starlette.types import Message

from app.core.db import Database
from app.core.db._page_rows import FIRST_ROWS, MAX_PAGE_ROWS, NEARBY_ROWS, NEARBY_ROWS_PER_HIT
from app.main import create_app
from tests.support import servers
from tests.support.clients_with_tokens import create_user_with_token
from tests.support.databases import open_database
from tests.support.large_database import (
    DEEP_PAGE_NUMBERS,
    GENERATED_CASES,
    OWNER_ID,
    large_database_sql,
)
from tests.support.query_plans import PlanNode, explain, list_nodes
from tests.support.resources import replace_resources
from tests.support.responses import get_json
from tests.support.rows import (
    AUTHOR_ID,
    COLLECTION_PATHS,
    LIST_CASES,
    LIST_PATHS,
    SEARCH_WORDS,
    SORT_KEYS,
    TABLE_NAMES,
)
from tests.support.settings import make_settings
from tests.support.sort_orders import order_by_terms
from tests.support.statements import observe_session_statements, wait_for_statement_callbacks
from tests.support.streamed_lists import CSV, NDJSON, STREAMED_PATHS, asgi_scope, stream_url

# With `pytest --dist loadfile`, only one process creates the large database.
pytestmark = pytest.mark.private_database

USER_COUNTS_PATH = "/reports/user-counts"
PATHS_AND_SORT_KEYS = [
    (path, sign + key) for path, keys in SORT_KEYS.items() for key in keys for sign in ("", "-")
] + [(path, "") for path in LIST_PATHS]
# The message of a failed test, before the types of the plan's nodes.
NO_INDEX_MESSAGE = (
    "The list is not read from an index in sort order. Add an index on the sort key and the id"
)

SentStatements = list[tuple[str, Any]]


@pytest.fixture(scope="module")
async def large_database_url(template_url: str) -> AsyncIterator[str]:
    """The URL of a large database, which is created once for all tests of this file."""
    async with servers.copy_with_rows(template_url, large_database_sql()) as url:
        yield url


@pytest.fixture
def private_database_url(large_database_url: str) -> str:
    """The URL of the database of the client, which replaces that of the same fixture elsewhere."""
    return large_database_url


@pytest.fixture
async def private_database(private_database_url: str) -> AsyncIterator[Database]:
    """The large database, with time to sort all hits of a search on a busy machine."""
    settings = make_settings(private_database_url, db_statement_timeout=20.0)
    async with open_database(settings) as database:
        yield database


@pytest.fixture
def sent_statements(database: Database) -> Iterator[SentStatements]:
    """The statements that are sent during the test, with their parameters.

    Statements that look up a token are left out.
    """
    statements: SentStatements = []

    def append_statement(statement: str, parameters: Any) -> None:
        # Requests also look their token up, and reports read the time of their data.
        if "FROM tokens" not in statement and "data_as_of" not in statement:
            statements.append((statement, parameters))

    with observe_session_statements(database, append_statement):
        yield statements


@pytest.fixture
async def client_of_owner(client: AsyncClient, database: Database) -> AsyncClient:
    """A client that sends a token of the user with the id `OWNER_ID`."""
    user_with_token = await create_user_with_token(database, user_id=OWNER_ID)
    client.headers.update(user_with_token.headers)
    return client


async def explain_executed_nodes(
    client: AsyncClient, database: Database, sent_statements: SentStatements, url: str
) -> list[PlanNode]:
    """Execute the statement of a request, and return the nodes of its plan that were executed."""
    options = "ANALYZE, FORMAT JSON"
    nodes = await explain_request(client, database, sent_statements, url, options)
    return [node for node in nodes if node["Actual Loops"]]


async def explain_request(
    client: AsyncClient,
    database: Database,
    sent_statements: SentStatements,
    url: str,
    options: str = "FORMAT JSON",
) -> list[PlanNode]:
    """Send a request, and return the nodes of the plan of its only statement, the root first."""
    await wait_for_statement_callbacks()
    sent_statements.clear()
    await get_json(client, url)
    await wait_for_statement_callbacks()
    [(statement, parameters)] = sent_statements
    return await explain(database, statement, parameters, options)


async def explain_stream(
    database: Database, sent_statements: SentStatements, path: str, query: str
) -> list[PlanNode]:
    """Request a stream, and return the nodes of the plan of its cursor, the root first.

    The client disconnects after the first part of the response.
    """
    app = create_app(make_settings("postgresql:///unused"))
    replace_resources(app, database=database)
    await wait_for_statement_callbacks()
    sent_statements.clear()
    body_has_started = asyncio.Event()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            body_has_started.set()
            await asyncio.Event().wait()

    async def receive() -> Message:
        await body_has_started.wait()
        return {"type": "http.disconnect"}

    await app(asgi_scope(path, query), receive, send)
    (statement, parameters), *_fetches = sent_statements
    return await explain(database, statement, parameters)


def nodes_below_limit(nodes: list[PlanNode]) -> list[PlanNode]:
    """Return the nodes that produce the rows of the page, below the only node `Limit`."""
    [limit] = [node for node in nodes if node["Node Type"] == "Limit"]
    _, *nodes_below = list_nodes(limit)
    return nodes_below


def node_types(nodes: list[PlanNode]) -> list[str]:
    """Return the type of each node, for example `["Limit", "Index Scan"]`."""
    return [node["Node Type"] for node in nodes]


async def get_deep_cursor(client: AsyncClient, path: str, sort_parameter: str) -> str:
    """Return the cursor of a page that is far from the start of the list."""
    page_number = DEEP_PAGE_NUMBERS[path]
    page = await get_json(client, f"{path}?count=none&page={page_number}{sort_parameter}")
    cursor: str = page["next"]
    return cursor


def assert_read_in_sort_order(nodes: list[PlanNode]) -> None:
    """Check that the rows of a page are read from an index, and neither sorted nor filtered."""
    scan, *rest = nodes_below_limit(nodes)
    assert not rest, f"{NO_INDEX_MESSAGE}: {node_types(nodes)}"
    assert scan["Node Type"] in {"Index Scan", "Index Only Scan"}
    assert "Filter" not in scan
    assert "Seq Scan" not in node_types(nodes)


@pytest.mark.parametrize(("path", "sort"), PATHS_AND_SORT_KEYS)
async def test_first_page_is_read_from_index_in_sort_order(
    client: AsyncClient, database: Database, sent_statements: SentStatements, path: str, sort: str
) -> None:
    sort = f"&sort={sort}" if sort else ""
    assert_read_in_sort_order(
        await explain_request(client, database, sent_statements, f"{path}?count=none{sort}")
    )


@pytest.mark.parametrize(("path", "sort"), PATHS_AND_SORT_KEYS)
async def test_index_scan_of_deep_page_starts_at_cursor(
    client: AsyncClient, database: Database, sent_statements: SentStatements, path: str, sort: str
) -> None:
    sort = f"&sort={sort}" if sort else ""
    cursor = await get_deep_cursor(client, path, sort)
    nodes = await explain_request(
        client, database, sent_statements, f"{path}?cursor={cursor}{sort}"
    )
    assert_read_in_sort_order(nodes)
    assert "ROW(" in nodes_below_limit(nodes)[0]["Index Cond"]


@pytest.mark.parametrize(
    ("path", "sort"),
    [
        *[
            (case.path, f"{case.sorts[0]},-{case.sorts[1]}")
            for case in GENERATED_CASES
            if len(case.sorts) > 1
        ],
        ("/authors", "name,dob"),
        ("/authors", "-name,dob"),
        ("/authors", "dob,-name"),
        ("/books", "title,created_at"),
        ("/books", "title,-created_at"),
        ("/books", "-title,updated_at"),
        ("/users", "name,-email"),
    ],
)
async def test_index_scan_of_deep_page_with_several_sort_keys_starts_at_cursor(
    client: AsyncClient, database: Database, sent_statements: SentStatements, path: str, sort: str
) -> None:
    cursor = await get_deep_cursor(client, path, f"&sort={sort}")
    nodes = nodes_below_limit(
        await explain_request(
            client, database, sent_statements, f"{path}?cursor={cursor}&sort={sort}"
        )
    )
    # The index contains only the first key, so rows with the same first key are sorted.
    assert node_types(nodes) == ["Incremental Sort", "Index Scan"]
    assert sort.split(",", maxsplit=1)[0].strip("-") in nodes[1]["Index Cond"]


@pytest.mark.parametrize(
    "sort", [sort for path, sort in PATHS_AND_SORT_KEYS if path == "/documents"]
)
async def test_documents_of_owner_are_read_from_index_in_sort_order(
    client_of_owner: AsyncClient, database: Database, sent_statements: SentStatements, sort: str
) -> None:
    sort = f"&sort={sort}" if sort else ""
    first_page_plan = await explain_request(
        client_of_owner, database, sent_statements, f"/documents?count=none{sort}"
    )
    cursor = (await get_json(client_of_owner, f"/documents?count=none&page=40{sort}"))["next"]
    deep_page_plan = await explain_request(
        client_of_owner, database, sent_statements, f"/documents?cursor={cursor}{sort}"
    )
    for nodes, condition in ((first_page_plan, "owner_id"), (deep_page_plan, "ROW(")):
        assert_read_in_sort_order(nodes)
        [scan] = nodes_below_limit(nodes)
        assert scan["Index Name"].startswith("ix_documents_owner_id_")
        assert condition in scan["Index Cond"]


@pytest.mark.parametrize(
    ("path", "sort", "filters"),
    [
        (path, sign + column, filters)
        for path, column, all_filters in (
            ("/authors", "dob", ("dob_is_null=true", "dob_is_null=false", "dob_from=1950-01-01")),
            ("/authors", "dob", ("dob_to=1950-01-01", "dob_from=1950-01-01&dob_to=1951-01-01")),
            ("/documents", "size", ("size_is_null=true", "size_is_null=false")),
        )
        for filters in all_filters
        for sign in ("", "-")
    ],
)
async def test_page_filtered_by_its_sort_key_is_read_from_the_part_of_the_index_with_its_rows(
    client: AsyncClient,
    database: Database,
    sent_statements: SentStatements,
    path: str,
    sort: str,
    filters: str,
) -> None:
    url = f"{path}?sort={sort}&{filters}"
    nodes = await explain_request(client, database, sent_statements, f"{url}&count=none")
    assert_read_in_sort_order(nodes)
    assert "COALESCE" in nodes_below_limit(nodes)[0]["Index Cond"]
    cursor = (await get_json(client, f"{url}&page=2&count=none"))["next"]
    assert_read_in_sort_order(
        await explain_request(client, database, sent_statements, f"{url}&cursor={cursor}")
    )


async def test_count_and_search_of_owners_documents_do_not_read_documents_of_others(
    client_of_owner: AsyncClient, database: Database, sent_statements: SentStatements
) -> None:
    for query in ("count=exact", "q=n&sort=-name", "content_type=text/plain&sort=size"):
        nodes = await explain_executed_nodes(
            client_of_owner, database, sent_statements, f"/documents?{query}"
        )
        scans = [node for node in nodes if node.get("Relation Name") == "documents"]
        numbers_of_rows = [
            (scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)) * scan["Actual Loops"]
            for scan in scans
        ]
        assert len(scans) >= 2, query
        assert max(numbers_of_rows) <= 937, query


async def test_estimated_total_of_owners_documents_is_exact(client_of_owner: AsyncClient) -> None:
    # The planner knows how frequent a content type is among the documents of all users, so an
    # estimate would reveal something about the documents of others.
    for query, total in {"": 937, "&content_type=image/png": 12}.items():
        page = await get_json(client_of_owner, f"/documents?count=estimated{query}")
        assert page["total"] == total, query


async def test_deleting_user_finds_their_documents_by_index(
    outside_connection: asyncpg.Connection,
) -> None:
    # EXPLAIN does not show the plan of a cascade, but the statistics show how many rows it reads.
    select_rows_read = """
        SELECT relname, seq_tup_read FROM pg_stat_xact_user_tables
        WHERE relname IN ('documents', 'stored_objects')
    """
    transaction = outside_connection.transaction()
    await transaction.start()
    await outside_connection.execute("DELETE FROM users WHERE id = $1", OWNER_ID)
    deleted_documents = await outside_connection.fetchval(
        "SELECT n_tup_del FROM pg_stat_xact_user_tables WHERE relname = 'documents'"
    )
    rows_read_by_table = dict(map(tuple, await outside_connection.fetch(select_rows_read)))
    await transaction.rollback()
    assert deleted_documents == 937
    assert rows_read_by_table == {"documents": 0, "stored_objects": 0}


@pytest.mark.parametrize("count", ["exact", "none"])
# Each list has 50 rows with the word. Authors have a separate test.
@pytest.mark.parametrize(
    "path", [path for path in COLLECTION_PATHS if path in SEARCH_WORDS and path != "/authors"]
)
async def test_search_for_rare_word_uses_gin_index(
    client: AsyncClient, database: Database, sent_statements: SentStatements, path: str, count: str
) -> None:
    nodes = await explain_executed_nodes(
        client, database, sent_statements, f"{path}?q=RÁRE&count={count}"
    )
    scans = [node for node in nodes if node["Node Type"] == "Bitmap Index Scan"]
    assert {scan["Index Name"] for scan in scans} == {
        f"ix_{TABLE_NAMES[path]}_{LIST_CASES[path].search_column}_terms"
    }
    assert len(scans) == (2 if count == "exact" else 1)
    assert "Seq Scan" not in node_types(nodes)


@pytest.mark.parametrize(
    ("sort", "index"),
    [("created_at", "ix_books_created_at_id"), ("-title", "ix_books_title_sort_key_id")],
)
async def test_search_for_common_word_reads_books_in_sort_order(
    client: AsyncClient, database: Database, sent_statements: SentStatements, sort: str, index: str
) -> None:
    nodes = await explain_executed_nodes(
        client, database, sent_statements, f"/books?q=half&count=none&sort={sort}"
    )
    index_names = {node.get("Index Name", "") for node in nodes}
    # The index of words would have to collect all 50,000 hits before it returns the first one.
    assert {name for name in index_names if name.startswith("ix_books_")} == {index}
    # The condition is checked for the rows in sort order, one after the other.
    scans = [node for node in nodes if node.get("Index Name") == index]
    assert not any("Filter" in scan for scan in scans)
    assert sum(scan["Actual Rows"] for scan in scans) < FIRST_ROWS + 200


@pytest.mark.parametrize("page_number", [1, 40])
async def test_search_for_common_word_far_from_first_rows_reads_few_rows_in_sort_order(
    client: AsyncClient, database: Database, sent_statements: SentStatements, page_number: int
) -> None:
    # Almost all of the 100,000 titles come before the 11,000 hits.
    url = f"/books?q=a9&count=none&sort=title&page={page_number}"
    nodes = await explain_executed_nodes(client, database, sent_statements, url)
    scans = [node for node in nodes if node.get("Index Name") == "ix_books_title_sort_key_id"]
    assert sorted(scan["Actual Rows"] for scan in scans) == [
        FIRST_ROWS,
        NEARBY_ROWS + NEARBY_ROWS_PER_HIT * (page_number * 20 + 1),
    ]
    assert "Seq Scan" not in node_types(nodes)


# All hits of "a0" come first if they are sorted by title.
@pytest.mark.parametrize("word", ["a0", "a9", "half", "rare"])
@pytest.mark.parametrize("sort", ["title", "-title", "created_at"])
async def test_pages_of_search_in_large_table_contain_the_hits_in_sort_order(
    client: AsyncClient, outside_connection: asyncpg.Connection, word: str, sort: str
) -> None:
    hits = await outside_connection.fetch(
        rf"SELECT title FROM books WHERE title ~ '\m{word}' ORDER BY {order_by_terms(sort)}"
    )
    titles = [hit["title"] for hit in hits]

    url = f"/books?q={word}&count=none&sort={sort}&size=20"
    last_page_number = (len(titles) + 19) // 20
    cursors = {}
    for page_number in (1, 3, 200, last_page_number - 1):
        page = await get_json(client, f"{url}&page={page_number}")
        expected_titles = titles[(page_number - 1) * 20 : page_number * 20]
        assert [book["title"] for book in page["items"]] == expected_titles, page_number
        cursors[page_number] = page["next"]

    for page_number in (1, last_page_number - 1):
        page = await get_json(client, f"{url}&cursor={cursors[page_number]}")
        expected_titles = titles[page_number * 20 : (page_number + 1) * 20]
        assert [book["title"] for book in page["items"]] == expected_titles, page_number


async def test_search_for_two_words_uses_gin_index(
    client: AsyncClient, database: Database, sent_statements: SentStatements
) -> None:
    nodes = await explain_executed_nodes(
        client, database, sent_statements, "/authors?q=n123+f456&count=exact"
    )
    assert node_types(nodes).count("Bitmap Index Scan") == 2
    assert "Seq Scan" not in node_types(nodes)


@pytest.mark.parametrize(
    ("url", "index"),
    [
        *[
            (f"{case.path}?id={AUTHOR_ID}", f"pk_{case.plural}")
            for case in GENERATED_CASES
            if case.has_id_filter
        ],
        (f"/authors?id={AUTHOR_ID}", "pk_authors"),
        (f"/books?id={AUTHOR_ID}&sort=title", "pk_books"),
        ("/users?email=E1@example.com", "uq_users_email_fold_case"),
        (f"/books?author_id={AUTHOR_ID}&count=none", "ix_books_author_id_created_at_id"),
        ("/documents?content_type=image/png&count=none", "ix_documents_content_type_created_at_id"),
        (
            "/books?created_from=2020-05-01T00:00:00Z&created_to=2020-05-01T01:00:00Z",
            "ix_books_created_at_id",
        ),
    ],
)
async def test_selective_filter_uses_index(
    client: AsyncClient, database: Database, sent_statements: SentStatements, url: str, index: str
) -> None:
    nodes = await explain_request(client, database, sent_statements, url)
    assert index in {node.get("Index Name") for node in nodes}
    assert "Seq Scan" not in node_types(nodes)


async def test_deep_page_joins_only_authors_of_its_own_books(
    client: AsyncClient, database: Database, sent_statements: SentStatements
) -> None:
    nodes = await explain_request(client, database, sent_statements, "/books?page=2000&count=none")
    [limit] = [node for node in nodes if node["Node Type"] == "Limit"]
    assert not any("author" in str(node.get("Relation Name")) for node in list_nodes(limit))
    author_nodes = [node for node in nodes if node.get("Relation Name") == "authors"]
    assert [node.get("Index Name") for node in author_nodes] == ["pk_authors"]


async def test_planner_knows_how_many_rows_of_search_fit_on_page(
    client: AsyncClient, database: Database, sent_statements: SentStatements
) -> None:
    # Without the constant, the plan of a prepared statement reads all authors to join a few.
    url = "/books?q=half&count=none"
    nodes = await explain_request(client, database, sent_statements, url)
    [branches] = [node for node in nodes if node["Node Type"] == "Append"]
    [limit] = [node for node in nodes if branches in node.get("Plans", ())]
    assert limit["Node Type"] == "Limit"
    assert limit["Plan Rows"] <= MAX_PAGE_ROWS


async def test_user_counts_are_read_from_primary_key_index(
    client: AsyncClient, database: Database, sent_statements: SentStatements
) -> None:
    cursor = await get_deep_cursor(client, USER_COUNTS_PATH, "")
    for query, has_condition in ((f"cursor={cursor}", True), ("count=none", False)):
        url = f"{USER_COUNTS_PATH}?{query}"
        nodes = await explain_request(client, database, sent_statements, url)
        assert_read_in_sort_order(nodes)
        [scan] = nodes_below_limit(nodes)
        assert scan["Index Name"] == "pk_user_counts"
        assert scan["Scan Direction"] == "Backward"
        assert ("Index Cond" in scan) == has_condition


@pytest.mark.parametrize(
    ("path", "sort"), [(path, sort) for path, sort in PATHS_AND_SORT_KEYS if path in STREAMED_PATHS]
)
@pytest.mark.parametrize("extension", [NDJSON, CSV])
async def test_stream_is_read_from_index_in_sort_order(
    database: Database, sent_statements: SentStatements, path: str, sort: str, extension: str
) -> None:
    nodes = await explain_stream(
        database, sent_statements, stream_url(path, extension), f"sort={sort}" if sort else ""
    )
    assert not any("Sort" in node_type for node_type in node_types(nodes)), (
        f"{NO_INDEX_MESSAGE}: {node_types(nodes)}"
    )
    scan = next(node for node in nodes if node.get("Relation Name") == TABLE_NAMES[path])
    assert scan["Node Type"] == "Index Scan"
    assert "Filter" not in scan


async def test_stream_of_authors_books_is_read_from_index_of_author(
    database: Database, sent_statements: SentStatements
) -> None:
    nodes = await explain_stream(
        database, sent_statements, "/books.csv", f"author_id={AUTHOR_ID}&sort=-title"
    )
    assert not any("Sort" in node_type for node_type in node_types(nodes))
    assert "ix_books_author_id_title_sort_key_id" in {node.get("Index Name") for node in nodes}
