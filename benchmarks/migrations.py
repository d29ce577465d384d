"""Migrate a database of a million books under load, and count the requests that fail.

    python -m benchmarks.migrations [BOOKS]

Clients read, search, create and change books on a real server all the time. A session with a
snapshot holds the lock of `books` at the beginning, as pg_dump does. Two upgrades are measured:

1. A column, an index, a check constraint and a foreign key are added to books, in revisions that
   `make revision` writes. The server has the code from before.
2. The database of release 0.1 is upgraded to the newest revision. The server of 0.1 is replaced by
   one of this release before the contract revisions.

Prints the numbers of requests by status, and the longest one of each kind.
"""

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import monotonic
from typing import Final

import asyncpg
from httpx import URL, AsyncClient, HTTPError

from app import embedded, schema
from app.tables import REQUIRED_REVISIONS
from benchmarks import dataset
from benchmarks.cores import choose_layout
from benchmarks.servers import SERVICE_MODULE, environment_of_checkout, running_module
from tests.support.project_copy import Project
from tests.support.releases import RELEASED_REVISION, extract_last_release

BOOKS: Final = 1_000_000
AUTHORS: Final = 50_000
CLIENTS: Final = 8
READER_SECONDS: Final = 15.0
# Texts in the model of books, and what replaces them.
COLUMN: Final = 'source_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("documents.id"))'
CHECK: Final = """sa.CheckConstraint("title <> chr(1)", name="title_not_control")"""
INDEX: Final = 'sa.Index(None, "source_id", "id")'
CHANGES_OF_MODELS: Final = (
    ("    author: Mapped", f"    {COLUMN}\n    author: Mapped"),
    ("    __table_args__ = (", f"    __table_args__ = ({CHECK}, {INDEX}, "),
)
IS_UPGRADE_CONNECTED: Final = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE '% migrate')
"""
SELECT_BOOKS: Final = "SELECT id::text, author_id::text FROM books LIMIT 1000"


class Load:
    """Clients that send requests one after the other, and what they have observed."""

    def __init__(self) -> None:
        self.statuses = Counter[str]()
        # The seconds of the longest request of each kind, and when it was sent.
        self.longest = dict[str, tuple[float, float]]()
        self._start = monotonic()
        self._is_over = False

    @asynccontextmanager
    async def run(self, origin: str, books: list[asyncpg.Record]) -> AsyncIterator[None]:
        """Send requests until the block ends."""
        self._is_over = False
        self._start = monotonic()
        async with AsyncClient(base_url=origin, timeout=60) as client:
            tasks = [
                asyncio.create_task(self._run_client(client, books[number::CLIENTS]))
                for number in range(CLIENTS)
            ]
            yield
            self._is_over = True
            await asyncio.gather(*tasks)

    async def _run_client(self, client: AsyncClient, books: list[asyncpg.Record]) -> None:
        number = 0
        while not self._is_over:
            book = books[number % len(books)]
            number += 1
            new_book = {"title": f"New {number}", "author_id": book["author_id"]}
            await self._send(client, "GET", f"/books/{book['id']}")
            await self._send(client, "GET", "/books?q=rare&count=none")
            await self._send(client, "POST", "/books", json=new_book)
            await self._send(
                client,
                "PATCH",
                f"/books/{book['id']}",
                json={"title": f"Changed {number}"},
                headers={"If-Match": "*"},
            )

    async def _send(
        self,
        client: AsyncClient,
        method: str,
        path: str,
        json: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        start = monotonic()
        try:
            response = await client.request(method, path, json=json, headers=headers)
            status = f"{method} {response.status_code}"
        except HTTPError as error:
            status = f"{method} {type(error).__name__}"
        self.statuses[status] += 1
        kind = f"{method} {URL(path).query.decode() or 'book'}"
        request = (monotonic() - start, start - self._start)
        self.longest[kind] = max(request, self.longest.get(kind, request))

    def print_report(self, title: str, seconds: float) -> None:
        """Print how many requests had each status, and the longest request of each kind."""
        counts = ", ".join(
            f"{status}: {count:,}" for status, count in sorted(self.statuses.items())
        )
        print(f"{title}: {seconds:.1f} s of migration")
        print(f"  {counts}")
        for kind, (duration, sent_after) in self.longest.items():
            print(f"  longest {kind}: {duration:.2f} s, sent after {sent_after:.1f} s", flush=True)


async def wait_until_upgrade_is_blocked(url: str) -> None:
    """Return when an upgrade has been connected for READER_SECONDS."""
    connection = await asyncpg.connect(url)
    while not await connection.fetchval(IS_UPGRADE_CONNECTED):
        await asyncio.sleep(0.1)
    await asyncio.sleep(READER_SECONDS)
    await connection.close()


async def migrate_under_load(
    load: Load, origin: str, url: str, project: Project, revision: str
) -> float:
    """Run `migrate` in a project while clients send requests. Return the seconds that it took."""
    connection = await asyncpg.connect(url)
    books = await connection.fetch(SELECT_BOOKS)
    async with load.run(origin, books):
        start = monotonic()
        async with connection.transaction(isolation="repeatable_read"):
            await connection.execute("SELECT FROM books LIMIT 1")
            process = await project.start("-m", "app", "migrate", revision, database=url)
            await wait_until_upgrade_is_blocked(url)
        output, errors = await process.communicate()
        seconds = monotonic() - start
    await connection.close()
    print(errors.decode(), end="")
    if process.returncode != 0:
        raise SystemExit(f"migrate failed: {output.decode()}")
    return seconds


@contextmanager
def running_service(url: str, directory: Path, code: Path | None = None) -> Iterator[str]:
    """Run a server of this release, or with other code, and yield its origin."""
    environment = {} if code is None else environment_of_checkout(code)
    with running_module(
        "service",
        SERVICE_MODULE,
        cores=choose_layout().server,
        directory=directory,
        database_url=url,
        environment=environment,
    ) as server:
        yield f"http://127.0.0.1:{server.port}"


@contextmanager
def running_database(directory: Path, books: int, revision: str) -> Iterator[str]:
    """Run Postgres with books at a revision, and yield its URL."""
    directory.mkdir()
    with embedded.run_postgres(directory, {"max_wal_size": "4GB"}) as server:
        url = server.url()
        schema.upgrade(dataset.sqlalchemy_url(url), revision)
        asyncio.run(insert_books(url, books))
        yield url


async def insert_books(url: str, books: int) -> None:
    """Insert authors and books."""
    connection = await asyncpg.connect(url)
    await dataset.insert_rows(connection, min(AUTHORS, books), books)
    await connection.close()


def measure_new_column(directory: Path, books: int) -> None:
    """Add a column with an index and constraints to books, and print the report."""
    project = Project(directory / "project")
    project.replace("app/books/models.py", *CHANGES_OF_MODELS)
    asyncio.run(project.write_revision("add the source of books"))
    load = Load()
    with (
        running_database(directory / "new", books, "head") as url,
        running_service(url, directory) as origin,
    ):
        seconds = asyncio.run(migrate_under_load(load, origin, url, project, "head"))
    load.print_report("A column, an index and two constraints", seconds)


def measure_upgrade_from_release(directory: Path, books: int) -> None:
    """Upgrade the database of the last release, and print the reports."""
    release = extract_last_release(directory / "release")
    project = Project(directory / "current")
    with running_database(directory / "old", books, RELEASED_REVISION) as url:
        for title, code, revision in (
            ("Expand, with the server of the last release", release, REQUIRED_REVISIONS[-1]),
            ("Contract, with the server of this release", None, "head"),
        ):
            load = Load()
            with running_service(url, directory, code) as origin:
                seconds = asyncio.run(migrate_under_load(load, origin, url, project, revision))
            load.print_report(title, seconds)


if __name__ == "__main__":
    number_of_books = int(sys.argv[1]) if len(sys.argv) > 1 else BOOKS
    with tempfile.TemporaryDirectory(prefix="bookshelf-migrations-") as temporary_directory:
        root = Path(temporary_directory)
        root.chmod(0o755)
        measure_new_column(root, number_of_books)
        measure_upgrade_from_release(root, number_of_books)
