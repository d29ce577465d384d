"""Measure how long Postgres executes the statements of lists of a million books.

The service in this process handles requests. Each statement that it sends is executed again with
EXPLAIN ANALYZE. Prints a Markdown table of medians in milliseconds.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import asyncpg
import httpx
from pydantic import SecretStr
from sqlalchemy import event

from app import embedded, schema
from app.core.db import Database
from app.main import create_app
from app.settings import Settings
from benchmarks import dataset
from tests.support.resources import replace_resources

AUTHORS: Final = 50_000
BOOKS: Final = 1_000_000
# Executions of each statement, after one that is not measured.
EXECUTIONS: Final = 5
# The number of rows before a deep page that is read with a cursor.
DEEP_PAGE_OFFSET: Final = 900_000


async def measure(url: str) -> None:
    """Fill the database, measure the statements, and print the table."""
    # The service starts no parallel workers either.
    server_settings = {"max_parallel_workers_per_gather": "0"}
    connection = await asyncpg.connect(url, server_settings=server_settings)
    await dataset.insert_rows(connection, AUTHORS, BOOKS)
    async with _running_service(url) as (client, sent_statements):
        print(f"| request | Postgres ms, median of {EXECUTIONS} |\n| --- | ---: |")
        labels = {path: f"`{path}`" for path in _paths()}
        labels[await _deep_page_path(client)] = f"cursor page after {DEEP_PAGE_OFFSET:,} rows"
        for word in ("rare", "half"):
            path = f"/books?q={word}&count=none&sort=-title"
            response = await client.get(path)
            labels[f"{path}&cursor={response.json()['next']}"] = f"`{path}`, second page by cursor"
        for path, label in labels.items():
            sent_statements.clear()
            response = await client.get(path)
            response.raise_for_status()
            statement, parameters = sent_statements[0]
            await _execution_time(connection, statement, parameters)
            milliseconds = [
                await _execution_time(connection, statement, parameters) for _ in range(EXECUTIONS)
            ]
            print(f"| {label} | {median(milliseconds):.2f} |", flush=True)
    await connection.close()


def _paths() -> list[str]:
    """Return the paths of the lists that are measured.

    All titles contain "title", half of them "half" and fifty "rare". The other words are MD5 sums:
    "a" begins one in 16 titles, and "ab" one in 256.
    """
    words = ("zzzz", "rare", "ab", "a", "half", "title", "half+a")
    sorts = ("created_at", "-title")
    return [
        "/books?count=none",
        "/books?count=estimated",
        "/books?count=bounded",
        "/books?count=exact",
        *(f"/books?q={word}&count=none&sort={sort}" for word in words for sort in sorts),
        *(f"/books?q={word}&count={count}" for word in words for count in ("bounded", "exact")),
        "/books?q=half&page=40&count=none",
        "/books?sort=-title&count=none",
        "/books?page=5000&count=none",
        "/books?page=5000",
    ]


async def _deep_page_path(client: httpx.AsyncClient) -> str:
    """Return the path of the page after DEEP_PAGE_OFFSET rows, with a cursor.

    Cursors are followed from the deepest page that can be read by its number.
    """
    path = "/books?size=100&count=none&page=1000"
    for _ in range((DEEP_PAGE_OFFSET - 100_000) // 100 + 1):
        response = await client.get(path)
        response.raise_for_status()
        path = f"/books?size=100&cursor={response.json()['next']}"
    return path.replace("size=100", "size=20")


async def _execution_time(connection: asyncpg.Connection, sql: str, parameters: Any) -> float:
    """Execute a statement with EXPLAIN ANALYZE, and return the time in milliseconds."""
    plan = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *parameters)
    return float(json.loads(plan)[0]["Execution Time"])


@asynccontextmanager
async def _running_service(
    url: str,
) -> AsyncIterator[tuple[httpx.AsyncClient, list[tuple[str, Any]]]]:
    """Yield a client of the service in this process, and a list of the statements it sends."""
    # The fast path bypasses the event that records the statements.
    settings = Settings(
        _env_file=None, app_env="test", database_url=SecretStr(url), db_fast_path=False
    )
    app = create_app(settings)
    sent_statements: list[tuple[str, Any]] = []
    database = Database(settings)
    replace_resources(app, database=database)

    def record(
        _connection: object, _cursor: object, statement: str, parameters: Any, *_: object
    ) -> None:
        sent_statements.append((statement, parameters))

    event.listen(database.engine.sync_engine, "before_cursor_execute", record)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://bookshelf") as client:
        yield client, sent_statements
    await database.engine.dispose()


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory(prefix="bookshelf-million-") as directory,
        embedded.run_postgres(Path(directory), {"max_wal_size": "4GB"}) as server,
    ):
        schema.upgrade(dataset.sqlalchemy_url(server.url()))
        asyncio.run(measure(server.url()))
