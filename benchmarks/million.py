"""Postgres time of the lists' statements over a million books: python -m benchmarks.million

It runs the service's own requests, takes the statements that they send, and asks Postgres with
EXPLAIN ANALYZE how long it executes them. Prints a Markdown table of medians in milliseconds.
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
from sqlalchemy.engine import make_url

from app import embedded, schema
from app.core.db import Database
from app.main import create_app
from app.settings import Settings
from benchmarks import dataset
from tests.support.resources import replace_resources

AUTHORS, BOOKS = 50_000, 1_000_000
EXECUTIONS: Final = 5
DEEP_PAGE_OFFSET: Final = 900_000  # rows before the deep cursor page


async def measure(url: str) -> None:
    connection = await asyncpg.connect(url)
    await dataset.insert_rows(connection, AUTHORS, BOOKS)
    async with _running_service(url) as (client, sent):
        print(f"| request | Postgres ms, median of {EXECUTIONS} |\n| --- | ---: |")
        for name, path in {**_paths(), "deep": await _deep_page_path(client)}.items():
            sent.clear()
            (await client.get(path)).raise_for_status()
            milliseconds = [
                await _execution_time(connection, *sent[0]) for _ in range(EXECUTIONS + 1)
            ]
            label = (
                f"`{path}`" if name != "deep" else f"cursor page after {DEEP_PAGE_OFFSET:,} rows"
            )
            print(f"| {label} | {median(milliseconds[1:]):.2f} |", flush=True)
    await connection.close()


def _paths() -> dict[str, str]:
    paths = [
        "/books?count=none",
        "/books?count=estimated",
        "/books?count=exact",
        "/books?q=rare",
        "/books?q=half&count=none",
        "/books?q=half",
        "/books?sort=-title&count=none",
        "/books?page=5000&count=none",
    ]
    return {path: path for path in paths}


async def _deep_page_path(client: httpx.AsyncClient) -> str:
    path = "/books?size=100&count=none&page=1000"
    for _ in range((DEEP_PAGE_OFFSET - 100_000) // 100 + 1):
        answer = (await client.get(path)).raise_for_status()
        path = f"/books?size=100&cursor={answer.json()['next']}"
    return path.replace("size=100", "size=20")


async def _execution_time(connection: asyncpg.Connection, sql: str, parameters: Any) -> float:
    plan = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *parameters)
    return float(json.loads(plan)[0]["Execution Time"])


@asynccontextmanager
async def _running_service(
    url: str,
) -> AsyncIterator[tuple[httpx.AsyncClient, list[tuple[str, Any]]]]:
    """A client of the service in this process, and the statements that it sends."""
    # The fast path bypasses the event that notes the statements.
    settings = Settings(
        _env_file=None, app_env="test", database_url=SecretStr(url), db_fast_path=False
    )
    app, sent = create_app(settings), list[tuple[str, Any]]()
    database = Database(settings)
    replace_resources(app, database=database)

    def note(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        sent.append((statement, parameters))

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://bookshelf") as client:
        yield client, sent
    await database.engine.dispose()


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory(prefix="bookshelf-million-") as directory,
        embedded.run_postgres(Path(directory), {"max_wal_size": "4GB"}) as server,
    ):
        schema.upgrade(make_url(server.url()).set(drivername="postgresql+asyncpg"))
        asyncio.run(measure(server.url()))
