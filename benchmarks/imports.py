"""How long a million books take: in and out by file, one by one by the ORM, by a plain COPY."""

import argparse
import asyncio
import csv
import os
import random
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import asyncpg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool
from uuid_utils.compat import uuid7

from app import embedded, schema
from app.authors.models import Author
from app.books.models import Book
from app.embedded.postgresql import Postgres

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
BOOKS_PER_AUTHOR: Final = 10  # of an author
COMMANDS: Final = {
    "import": ("import", "books"),
    "again": ("import", "books"),
    "export": ("export", "books", "--format=csv"),
}


def generate_books(count: int) -> Iterator[tuple[str, date, str]]:
    """Author, date of birth and title of so many different books."""
    chosen = random.Random(count)
    for number in range(count):
        author, title = (
            number // BOOKS_PER_AUTHOR,
            " ".join(chosen.choices(WORDS, k=4)).capitalize(),
        )
        yield f"Author {author:06d}", date(1800, 1, 1), f"{title} {number}"


async def insert_with_orm(url: URL, count: int) -> float:
    """Seconds of one INSERT and COMMIT for each book, as a loop over a session's add does it."""
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
    """Seconds of COPY straight into the tables: nothing is checked, nothing looked up."""
    connection = await asyncpg.connect(url)
    authors = [uuid7() for _ in range(-(-count // BOOKS_PER_AUTHOR))]
    names = ((key, f"Author {n:06d}", date(1800, 1, 1)) for n, key in enumerate(authors))
    rows = (
        (uuid7(), title, authors[number // BOOKS_PER_AUTHOR])
        for number, (_, _, title) in enumerate(generate_books(count))
    )
    start = perf_counter()
    async with connection.transaction():
        columns = ["id", "name", "dob"]
        await connection.copy_records_to_table("authors", records=names, columns=columns)
        columns = ["id", "title", "author_id"]
        await connection.copy_records_to_table("books", records=rows, columns=columns)
    await connection.close()
    return perf_counter() - start


def run_command(url: str, *command: str) -> tuple[float, float]:
    """Seconds and peak MiB of the process of a command, its start included."""
    start = perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "app", *command],
        env={**os.environ, "DATABASE_URL": url},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{command} failed: {status}")
    return perf_counter() - start, usage.ru_maxrss / 1024


async def create_trial_database(server: Postgres) -> str:
    """The URL of an empty, migrated database; the one of the trial before is gone."""
    connection = await asyncpg.connect(server.url())
    await connection.execute("DROP DATABASE IF EXISTS trial WITH (FORCE)")
    await connection.execute('CREATE DATABASE trial TEMPLATE "bookshelf"')
    await connection.execute("CHECKPOINT")
    await connection.close()
    return server.url("trial")


async def create_template_database(server: Postgres) -> None:
    connection = await asyncpg.connect(server.url())
    await connection.execute('CREATE DATABASE "bookshelf"')
    await connection.close()


def measure(server: Postgres, directory: Path, options: argparse.Namespace) -> None:
    file = directory / "books.csv"
    with file.open("w", newline="") as target:
        csv.writer(target).writerows([("author", "dob", "title")])
        csv.writer(target).writerows(generate_books(options.books))
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(options.rounds):
        url = asyncio.run(create_trial_database(server))
        for name, command in COMMANDS.items():
            seconds, memory = run_command(
                url, *command, str(file) if name != "export" else "/dev/null"
            )
            found[name].append(seconds)
            found[f"{name} MiB"].append(memory)
        found["copy"].append(
            asyncio.run(copy_rows(asyncio.run(create_trial_database(server)), options.books))
        )
        url = asyncio.run(create_trial_database(server))
        found["orm"].append(asyncio.run(insert_with_orm(sqlalchemy_url(url), options.sample)))
    for name, words in (
        ("import", f"import books, {options.books} lines, s"),
        ("import MiB", "its peak memory, MiB"),
        ("again", "the same file again, s"),
        ("export", "export books, s"),
        ("export MiB", "its peak memory, MiB"),
        ("copy", "plain COPY of as many rows, s"),
        ("orm", f"one by one by the ORM, {options.sample} books, s"),
    ):
        values = sorted(found[name])
        print(f"{words:<42}{median(values):8.1f}   ({values[0]:.1f} to {values[-1]:.1f})")
    each = median(found["orm"]) / options.sample * options.books
    print(f"{'one by one, for all of them, s':<42}{each:8.0f}   (calculated)")


def sqlalchemy_url(url: str) -> URL:
    return make_url(url).set(drivername="postgresql+asyncpg")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imports", description=__doc__)
    parser.add_argument("--books", type=int, default=1_000_000)
    parser.add_argument("--sample", type=int, default=5_000, help="books that the ORM gets")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bookshelf-imports-") as place:
        home = Path(place)
        home.chmod(0o755)
        with embedded.run_postgres(home) as running:
            asyncio.run(create_template_database(running))
            schema.upgrade(sqlalchemy_url(running.url("bookshelf")))
            measure(running, home, given)
