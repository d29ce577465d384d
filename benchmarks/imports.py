"""Measure the import of a million books.

It is compared with COPY and with the ORM, which inserts and commits books one by one.
"""

import argparse
import asyncio
import csv
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from math import ceil
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import asyncpg
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool
from uuid_utils.compat import uuid7

from app import embedded, schema
from app.authors.models import Author
from app.books.models import Book
from app.embedded.postgresql import Postgres
from benchmarks.commands import run_command
from benchmarks.dataset import sqlalchemy_url

WORDS: Final = [
    "the",
    "of",
    "night",
    "river",
    "garden",
    "stone",
    "winter",
    "house",
    "light",
    "sea",
    "wind",
    "shadow",
]
BOOKS_PER_AUTHOR: Final = 10
# The same file is imported twice. The second import finds all books.
IMPORTS: Final = ("import", "again")


def generate_books(count: int) -> Iterator[tuple[str, date, str]]:
    """Yield the author, the date of birth and the title of `count` different books."""
    generator = random.Random(count)
    for number in range(count):
        author_number = number // BOOKS_PER_AUTHOR
        title = " ".join(generator.choices(WORDS, k=4)).capitalize()
        yield f"Author {author_number:06d}", date(1800, 1, 1), f"{title} {number}"


async def insert_with_orm(url: URL, count: int) -> float:
    """Insert and commit each book alone with the ORM. Return the duration in seconds."""
    engine = create_async_engine(url, poolclass=NullPool)
    start = perf_counter()
    async with AsyncSession(engine, expire_on_commit=False) as session:
        authors: dict[str, Author] = {}
        for name, dob, title in generate_books(count):
            if name not in authors:
                authors[name] = Author(id=uuid7(), name=name, dob=dob)
                session.add(authors[name])
                await session.commit()
            session.add(Book(id=uuid7(), title=title, author_id=authors[name].id))
            await session.commit()
    await engine.dispose()
    return perf_counter() - start


async def copy_rows(url: str, count: int) -> float:
    """Insert books with COPY, without any checks or lookups. Return the duration in seconds."""
    connection = await asyncpg.connect(url)
    author_ids = [uuid7() for _ in range(ceil(count / BOOKS_PER_AUTHOR))]
    author_rows = (
        (author_id, f"Author {number:06d}", date(1800, 1, 1))
        for number, author_id in enumerate(author_ids)
    )
    book_rows = (
        (uuid7(), title, author_ids[number // BOOKS_PER_AUTHOR])
        for number, (_, _, title) in enumerate(generate_books(count))
    )
    start = perf_counter()
    async with connection.transaction():
        columns = ["id", "name", "dob"]
        await connection.copy_records_to_table("authors", records=author_rows, columns=columns)
        columns = ["id", "title", "author_id"]
        await connection.copy_records_to_table("books", records=book_rows, columns=columns)
    await connection.close()
    return perf_counter() - start


async def create_trial_database(server: Postgres) -> str:
    """Create an empty, migrated database and return its URL. The previous one is dropped."""
    connection = await asyncpg.connect(server.url())
    await connection.execute("DROP DATABASE IF EXISTS trial WITH (FORCE)")
    await connection.execute('CREATE DATABASE trial TEMPLATE "bookshelf"')
    await connection.execute("CHECKPOINT")
    await connection.close()
    return server.url("trial")


async def create_template_database(server: Postgres) -> None:
    """Create the empty database that `create_trial_database` copies."""
    connection = await asyncpg.connect(server.url())
    await connection.execute('CREATE DATABASE "bookshelf"')
    await connection.close()


def write_csv_file(path: Path, count: int) -> None:
    """Write a file with `count` books that the service can import."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("author", "dob", "title"))
        writer.writerows(generate_books(count))


def measure(server: Postgres, directory: Path, options: argparse.Namespace) -> None:
    """Run all measurements in turns, and print their medians and ranges."""
    file = directory / "books.csv"
    write_csv_file(file, options.books)
    # The measurements by their names, for example {"import": [31.2, 30.8], "import MiB": ...}.
    measurements: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        url = asyncio.run(create_trial_database(server))
        for name in IMPORTS:
            run = run_command(url, "import", "books", str(file))
            if not run.has_succeeded:
                raise RuntimeError(f"{name} failed: {run.last_line}")
            measurements[name].append(run.seconds)
            measurements[f"{name} CPU"].append(run.cpu_seconds)
            measurements[f"{name} MiB"].append(run.peak_memory_mib)
        url = asyncio.run(create_trial_database(server))
        measurements["copy"].append(asyncio.run(copy_rows(url, options.books)))
        url = asyncio.run(create_trial_database(server))
        seconds = asyncio.run(insert_with_orm(sqlalchemy_url(url), options.sample))
        measurements["orm"].append(seconds)
    _print_measurements(measurements, options)


def _print_measurements(measurements: dict[str, list[float]], options: argparse.Namespace) -> None:
    """Print the median and the range of each measurement."""
    descriptions = {
        "import": f"import of {options.books} books, s",
        "import CPU": "CPU time of the import without Postgres, s",
        "import MiB": "peak memory of the import, MiB",
        "again": "import of the same file again, s",
        "copy": "COPY of as many rows, s",
        "orm": f"ORM, {options.sample} books one by one, s",
    }
    for name, description in descriptions.items():
        values = sorted(measurements[name])
        print(f"{description:<42}{median(values):8.1f}   ({values[0]:.1f} to {values[-1]:.1f})")
    ratios = [
        import_seconds / copy_seconds
        for import_seconds, copy_seconds in zip(
            measurements["import"], measurements["copy"], strict=True
        )
    ]
    print(f"{'import to COPY':<42}{median(ratios):8.2f}   ({min(ratios):.2f} to {max(ratios):.2f})")
    orm_seconds = median(measurements["orm"]) / options.sample * options.books
    print(f"{'ORM, all books one by one, s':<42}{orm_seconds:8.0f}   (calculated)")


@contextmanager
def running_database() -> Iterator[tuple[Postgres, Path]]:
    """Run Postgres with the template database, until the block ends.

    Yields the server and a directory for files.
    """
    with tempfile.TemporaryDirectory(prefix="bookshelf-bulk-") as directory_name:
        directory = Path(directory_name)
        # The server may run as another user, who must be able to enter the directory.
        directory.chmod(0o755)
        with embedded.run_postgres(directory) as server:
            asyncio.run(create_template_database(server))
            schema.upgrade(sqlalchemy_url(server.url("bookshelf")))
            yield server, directory


def main() -> None:
    """Parse the options, start Postgres and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imports", description=__doc__)
    parser.add_argument("--books", type=int, default=1_000_000, help="(%(default)s)")
    parser.add_argument(
        "--sample", type=int, default=5_000, help="books that the ORM inserts (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    options = parser.parse_args()
    with running_database() as (server, directory):
        measure(server, directory, options)


if __name__ == "__main__":
    main()
