"""Tests of `export books`. Tests of standard output start real processes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from app.core.db import Database
from tests.support import processes, servers
from tests.support.book_lines import book_line, import_lines
from tests.support.commands import invoke_command
from tests.support.processes import poll_until, spawn_command, wait_for_result
from tests.support.settings import make_settings

TITLES_TO_QUOTE = ['"Emma"', "a,b", "a\r\nb\rc", " Cien años ", "\U0001f4da", "=1+1", "x" * 300]
INSERT_BOOKS = """
WITH author AS (INSERT INTO authors (id, name) VALUES (gen_random_uuid(), 'A') RETURNING id)
INSERT INTO books (id, title, author_id)
SELECT gen_random_uuid(), repeat('x', 300), author.id FROM author, generate_series(1, $1)
"""
EXPORTING_PROCESS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND query ~ '^FETCH' AND state = 'idle in transaction'
"""


async def insert_books(url: str) -> None:
    """Insert books whose titles a CSV file has to quote, with and without a date of birth."""
    database = Database(make_settings(url))
    dates = (None, "1775-12-16")
    await import_lines(
        database, [book_line(title[:9], title, dob) for title in TITLES_TO_QUOTE for dob in dates]
    )
    await database.close()


@pytest.fixture
async def other_database_url(template_url: str) -> AsyncIterator[str]:
    """The URL of a second database, which is empty."""
    url = await servers.copy_database(template_url, f"{os.getpid()}_another")
    yield url
    await servers.drop_database(url)


async def test_exported_file_can_be_imported_and_exported_again_unchanged(
    database_url: str, other_database_url: str, tmp_path: Path
) -> None:
    await insert_books(database_url)
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text("an existing file")
    assert await invoke_command("export", "books", str(first), DATABASE_URL=database_url) == (
        0,
        "",
        "",
    )
    _, out, _ = await invoke_command(
        "import", "books", str(first), "--strict", DATABASE_URL=other_database_url
    )
    assert out == "Books added: 14, authors added: 14\n"
    assert await invoke_command(
        "export", "books", str(second), DATABASE_URL=other_database_url
    ) == (0, "", "")
    assert second.read_bytes() == first.read_bytes()
    assert first.read_bytes().count(b"\xf0\x9f\x93\x9a") == 4
    assert sorted(tmp_path.iterdir()) == [first, second]


async def test_export_to_standard_output_is_csv_by_default(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(INSERT_BOOKS, 1)
    title = "x" * 300
    result = await invoke_command("export", "books", DATABASE_URL=database_url)
    assert result == (0, f"author,dob,title\r\nA,,{title}\r\n", "")
    result = await invoke_command("export", "books", "--format", "jsonl", DATABASE_URL=database_url)
    assert result == (0, f'{{"author":"A","dob":null,"title":"{title}"}}\n', "")


async def test_export_replaces_a_file_that_cannot_be_read(
    database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "books.csv"
    file.touch(mode=0o200)
    assert await invoke_command("export", "books", str(file), DATABASE_URL=database_url) == (
        0,
        "",
        "",
    )
    assert file.read_bytes() == b"author,dob,title\r\n"


async def test_export_fails_with_one_line_if_format_is_unknown(
    database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "books.txt"
    advice = "pass --format csv or --format jsonl"
    message = f"bookshelf: cannot determine the format of {file}: {advice}\n"
    assert await invoke_command("export", "books", str(file), DATABASE_URL=database_url) == (
        1,
        "",
        message,
    )
    assert not file.exists()


async def test_export_ends_without_message_if_reader_closes_the_pipe(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(INSERT_BOOKS, 5000)
    process = await spawn_command("export", "books", environment={"DATABASE_URL": database_url})
    assert process.stdout
    assert await process.stdout.readline() == b"author,dob,title\r\n"
    process.stdout._transport.close()  # type: ignore[attr-defined]
    assert process.stderr
    assert (await process.stderr.read(), await process.wait()) == (b"", 1)


async def test_export_fails_with_one_line_if_disk_is_full(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    message = "bookshelf: cannot write {}: No space left on device\n"
    environment = {"DATABASE_URL": database_url}
    with Path("/dev/full").open("wb") as full:
        process = await spawn_command(
            "export", "books", environment=environment, stdout=full.fileno()
        )
        assert await wait_for_result(process) == (1, "", message.format("-"))
    await outside_connection.execute(INSERT_BOOKS, 5000)
    command = ("export", "books", "/dev/full", "--format", "csv")
    result = await processes.run_command(*command, DATABASE_URL=database_url)
    assert result == (1, "", message.format("/dev/full"))


async def test_export_fails_with_one_line_if_directory_does_not_exist(
    database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "missing" / "books.csv"
    message = f"bookshelf: cannot write {file}: No such file or directory\n"
    result = await processes.run_command("export", "books", str(file), DATABASE_URL=database_url)
    assert result == (1, "", message)


@pytest.mark.parametrize("interruption", ["database", "signal"])
async def test_interrupted_export_does_not_change_an_existing_file(
    database_url: str, outside_connection: asyncpg.Connection, tmp_path: Path, interruption: str
) -> None:
    await outside_connection.execute(INSERT_BOOKS, 2000)
    file = tmp_path / "books.csv"
    file.write_bytes(b"mine")
    # The partial file is a pipe that nobody reads, so that the export waits before it has finished.
    partial_file = tmp_path / "books.csv.part"
    os.mkfifo(partial_file)
    process = await spawn_command(
        "export", "books", str(file), environment={"DATABASE_URL": database_url}
    )
    reader = await asyncio.to_thread(partial_file.open, "rb", 0)

    async def is_writing() -> object:
        return await outside_connection.fetchval(EXPORTING_PROCESS)

    with reader:
        await poll_until(is_writing)
        if interruption == "signal":
            process.send_signal(signal.SIGTERM)
        else:
            await outside_connection.execute(
                "SELECT pg_terminate_backend($1, 10000)", await is_writing()
            )
        while await asyncio.to_thread(reader.read, 2**16):
            pass
        code, out, err = await wait_for_result(process)
    assert (code, out) == ((143, "") if interruption == "signal" else (1, ""))
    assert "Traceback" not in err
    assert err.count("\n") == (interruption == "database")
    assert file.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [file]
