"""Measure how long it takes to rename an author with very many books.

It sends PATCH /authors/{id} to the service, in turns for an author with 300,000 books and for one
without books, and prints the medians. The version of a book combines those of the book and its
author, so a rename writes one row in both cases.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import asyncpg
import httpx
from pydantic import SecretStr

from app import embedded, schema
from app.main import create_app
from app.settings import Settings

BOOKS: Final = 300_000
ROUNDS: Final = 9
# The number of renames per round and author.
RENAMES: Final = 100
AUTHORS: Final = {
    f"{BOOKS:,} books": "01890000-0000-7000-8000-000000000001",
    "no books": "01890000-0000-7000-8000-000000000002",
}
_ROWS: Final = f"""
INSERT INTO authors (id, name)
SELECT id::uuid, 'Author' FROM unnest(ARRAY{list(AUTHORS.values())}) AS id;
INSERT INTO books (id, title, author_id)
SELECT ('01890000-0000-7000-9000-' || lpad(n::text, 12, '0'))::uuid, 'Title ' || n,
    '{AUTHORS[f"{BOOKS:,} books"]}'
FROM generate_series(1, {BOOKS}) AS n;
ANALYZE;
"""


async def measure(url: str) -> None:
    """Insert the rows, rename both authors in turns, and print a table."""
    connection = await asyncpg.connect(url)
    await connection.execute(_ROWS, timeout=300)
    await connection.close()
    milliseconds: dict[str, list[float]] = {label: [] for label in AUTHORS}
    async with _client(url) as client:
        for round_number in range(ROUNDS + 1):
            for label, author_id in AUTHORS.items():
                duration = await _rename(client, author_id)
                # The first round warms up.
                if round_number > 0:
                    milliseconds[label].append(duration)
    print("| author with | ms per rename, median | range |\n| --- | ---: | ---: |")
    for label, durations in milliseconds.items():
        extent = f"{min(durations):.2f}-{max(durations):.2f}"
        print(f"| {label} | {median(durations):.2f} | {extent} |")


async def _rename(client: httpx.AsyncClient, author_id: str) -> float:
    """Return the mean time of a rename in a round, in milliseconds."""
    start = perf_counter()
    for number in range(RENAMES):
        response = await client.patch(f"/authors/{author_id}", json={"name": f"Author {number}"})
        response.raise_for_status()
    return (perf_counter() - start) / RENAMES * 1000


@asynccontextmanager
async def _client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the service in this process."""
    settings = Settings(
        _env_file=None, app_env="test", anonymous_access="full", database_url=SecretStr(url)
    )
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


def main() -> None:
    """Start Postgres and measure."""
    with (
        tempfile.TemporaryDirectory() as directory,
        embedded.run_postgres(Path(directory)) as server,
    ):
        url = server.url()
        schema.upgrade(Settings(_env_file=None, database_url=SecretStr(url)).sqlalchemy_url)
        asyncio.run(measure(url))


if __name__ == "__main__":
    main()
