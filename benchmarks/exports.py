"""Measure the export of a million books, compared with COPY TO of the same columns."""

import argparse
import asyncio
from collections import defaultdict
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final, Literal

import asyncpg

from app.embedded.postgresql import Postgres
from benchmarks.commands import run_command
from benchmarks.imports import copy_rows, create_trial_database, running_database

CopyFormat = Literal["csv", "text"]
# The rows of an export, in its order.
LINES: Final = """
SELECT authors.name AS author, authors.dob, books.title
FROM books JOIN authors ON authors.id = books.author_id ORDER BY books.created_at, books.id
"""
# For each format of `export books`, the query and the format of the COPY.
FORMATS: Final[dict[str, tuple[str, CopyFormat]]] = {
    "csv": (LINES, "csv"),
    "jsonl": (f"SELECT row_to_json(line) FROM ({LINES}) AS line", "text"),
}


async def copy_to_null(url: str, query: str, copy_format: CopyFormat) -> float:
    """Read the result of a query with COPY TO, and discard it. Return the duration in seconds."""
    connection = await asyncpg.connect(url)
    start = perf_counter()
    await connection.copy_from_query(query, output=Path("/dev/null"), format=copy_format)
    seconds = perf_counter() - start
    await connection.close()
    return seconds


async def fill_database(server: Postgres, count: int) -> str:
    """Create a database with `count` books, and return its URL."""
    url = await create_trial_database(server)
    await copy_rows(url, count)
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()
    return url


def measure(url: str, rounds: int) -> dict[str, list[float]]:
    """Run all measurements in turns. Return them by their names, for example "csv MiB"."""
    measurements: dict[str, list[float]] = defaultdict(list)
    # The first round only fills the caches.
    for round_number in range(rounds + 1):
        for file_format, (query, copy_format) in FORMATS.items():
            run = run_command(url, "export", "books", f"--format={file_format}", "/dev/null")
            if not run.has_succeeded:
                raise RuntimeError(f"the export failed: {run.last_line}")
            copy_seconds = asyncio.run(copy_to_null(url, query, copy_format))
            if round_number > 0:
                measurements[f"export as {file_format}, s"].append(run.seconds)
                measurements[f"CPU of the export, {file_format}, s"].append(run.cpu_seconds)
                measurements[f"COPY TO, {file_format}, s"].append(copy_seconds)
                measurements[f"export to COPY, {file_format}"].append(run.seconds / copy_seconds)
                measurements[f"peak memory, {file_format}, MiB"].append(run.peak_memory_mib)
    return measurements


def main() -> None:
    """Parse the options, start Postgres and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exports", description=__doc__)
    parser.add_argument("--books", type=int, default=1_000_000, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    options = parser.parse_args()
    with running_database() as (server, _directory):
        url = asyncio.run(fill_database(server, options.books))
        measurements = measure(url, options.rounds)
    for name, values in measurements.items():
        print(f"{name:<28}{median(values):8.2f}   ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
