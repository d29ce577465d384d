"""Tests of `export books`. Tests of standard output start real processes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from app.cli.output_files import open_output
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
WAITING_PROCESS = """
SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'books'::regclass AND database = (
    SELECT oid FROM pg_database WHERE datname = current_database()
)
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
    async with servers.open_copy(template_url) as url:
        yield url


async def test_exported_file_can_be_imported_and_exported_again_unchanged(
    database_url: str, other_database_url: str, tmp_path: Path
) -> None:
    await insert_books(database_url)
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    result = await invoke_command("export", "books", str(first), DATABASE_URL=database_url)
    assert result == (0, "Books exported: 14\n", "")
    _, out, _ = await invoke_command(
        "import", "books", str(first), "--strict", DATABASE_URL=other_database_url
    )
    assert out == "Books added: 14, authors added: 14\n"
    await invoke_command("export", "books", str(second), DATABASE_URL=other_database_url)
    assert second.read_bytes() == first.read_bytes()
    assert first.read_bytes().count(b"\xf0\x9f\x93\x9a") == 4
    assert sorted(tmp_path.iterdir()) == [first, second]


async def test_export_to_standard_output_is_csv_by_default(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(INSERT_BOOKS, 1)
    title = "x" * 300
    result = await invoke_command("export", "books", DATABASE_URL=database_url)
    count = "Books exported: 1\n"
    assert result == (0, f"author,dob,title\r\nA,,{title}\r\n", count)
    result = await invoke_command("export", "books", "--format", "jsonl", DATABASE_URL=database_url)
    assert result == (0, f'{{"author":"A","dob":null,"title":"{title}"}}\n', count)


async def test_export_with_force_replaces_a_file_and_keeps_its_permissions(
    database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "books.csv"
    file.touch(mode=0o200)
    command = ("export", "books", str(file), "--force")
    result = await invoke_command(*command, DATABASE_URL=database_url)
    assert result == (0, "Books exported: 0\n", "")
    assert file.stat().st_mode & 0o777 == 0o200
    file.chmod(0o600)
    assert file.read_bytes() == b"author,dob,title\r\n"
    assert list(tmp_path.iterdir()) == [file]


def test_permissions_of_replaced_file_apply_before_first_byte_is_written(tmp_path: Path) -> None:
    file = tmp_path / "books.csv"
    file.touch(mode=0o600)
    with open_output(file, replace=True) as output:
        assert os.fstat(output.fileno()).st_mode & 0o777 == 0o600


async def test_export_without_force_does_not_replace_a_file(
    database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "books.csv"
    file.write_text("mine")
    message = f"bookshelf: {file} exists: pass --force to replace it, or choose another name\n"
    result = await invoke_command("export", "books", str(file), DATABASE_URL=database_url)
    assert result == (1, "", message)
    assert file.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [file]


async def test_export_replaces_the_file_to_which_a_symbolic_link_leads(
    database_url: str, tmp_path: Path
) -> None:
    link, target = tmp_path / "books.csv", tmp_path / "books-1.csv"
    link.symlink_to(target.name)
    command = ("export", "books", str(link))
    assert (await invoke_command(*command, DATABASE_URL=database_url)).exit_code == 0
    assert (await invoke_command(*command, DATABASE_URL=database_url)).exit_code == 1
    assert (await invoke_command(*command, "--force", DATABASE_URL=database_url)).exit_code == 0
    assert link.is_symlink()
    assert target.read_bytes() == b"author,dob,title\r\n"


async def test_export_replaces_symbolic_link_that_leads_to_itself(
    database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "books.csv"
    file.symlink_to(file.name)
    result = await invoke_command("export", "books", str(file), DATABASE_URL=database_url)
    assert result == (0, "Books exported: 0\n", "")
    assert file.read_bytes() == b"author,dob,title\r\n"


async def test_new_export_has_the_permissions_of_every_new_file(
    database_url: str, tmp_path: Path
) -> None:
    file, other_file = tmp_path / "books.csv", tmp_path / "other"
    other_file.touch()
    await invoke_command("export", "books", str(file), DATABASE_URL=database_url)
    assert file.stat().st_mode == other_file.stat().st_mode


@pytest.mark.parametrize("name", ["x" * 251 + ".csv", ".csv", "-.csv", "a\nb.csv", "é.csv"])
async def test_export_accepts_unusual_file_names(
    database_url: str, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    command = ("export", "books", str(file), "--format", "csv")
    result = await invoke_command(*command, DATABASE_URL=database_url)
    assert result == (0, "Books exported: 0\n", "")
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("name", "options"), [("a.csv", ()), ("a.csv", ("--bom",)), ("a.jsonl", ()), ("a.json", ())]
)
async def test_export_of_every_format_can_be_imported(
    database_url: str, other_database_url: str, tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    await insert_books(database_url)
    command = ("export", "books", str(tmp_path / name), *options)
    await invoke_command(*command, DATABASE_URL=database_url)
    command = ("import", "books", str(tmp_path / name), "--strict")
    result = await invoke_command(*command, DATABASE_URL=other_database_url)
    assert result == (0, "Books added: 14, authors added: 14\n", "")
    result = await invoke_command(*command, DATABASE_URL=database_url)
    assert result == (0, "Books added: 0, authors added: 0\n", "")


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "json"])
async def test_export_without_books_can_be_imported(
    database_url: str, tmp_path: Path, file_format: str
) -> None:
    file = str(tmp_path / f"books.{file_format}")
    await invoke_command("export", "books", file, DATABASE_URL=database_url)
    result = await invoke_command("import", "books", file, DATABASE_URL=database_url)
    assert result == (0, "Books added: 0, authors added: 0\n", "")


async def test_byte_order_mark_is_only_for_csv(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "books.json"
    command = ("export", "books", str(file), "--bom")
    result = await invoke_command(*command, DATABASE_URL=database_url)
    assert result == (1, "", "bookshelf: --bom is only for CSV: leave it out for JSON\n")
    assert not file.exists()


async def test_export_to_a_redirected_standard_output_by_its_device_name(
    database_url: str, outside_connection: asyncpg.Connection, tmp_path: Path
) -> None:
    await outside_connection.execute(INSERT_BOOKS, 1)
    file = tmp_path / "books.csv"
    with file.open("wb") as stdout:
        process = await spawn_command(
            "export", "books", "/dev/stdout", "--format", "csv",
            environment={"DATABASE_URL": database_url}, stdout=stdout.fileno(),
        )  # fmt: skip
        assert await wait_for_result(process) == (0, "", "Books exported: 1\n")
    assert file.read_bytes().startswith(b"author,dob,title\r\nA,,x")


async def test_export_to_a_named_pipe(
    database_url: str, outside_connection: asyncpg.Connection, tmp_path: Path
) -> None:
    await outside_connection.execute(INSERT_BOOKS, 1)
    pipe = tmp_path / "books.csv"
    os.mkfifo(pipe)
    reading = asyncio.create_task(asyncio.to_thread(pipe.read_bytes))
    result = await invoke_command("export", "books", str(pipe), DATABASE_URL=database_url)
    assert result == (0, "", "Books exported: 1\n")
    assert (await reading).startswith(b"author,dob,title\r\nA,,x")
    assert pipe.is_fifo()


async def test_export_fails_with_one_line_if_format_is_unknown(
    database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "books.txt"
    advice = "pass --format csv, --format jsonl or --format json"
    message = f"bookshelf: cannot write {file}: its format is unknown: {advice}\n"
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


@pytest.mark.parametrize("interruption", ["database", "SIGTERM", "SIGINT"])
@pytest.mark.parametrize("options", [(), ("--force",)])
async def test_interrupted_export_leaves_no_part_and_does_not_change_an_existing_file(
    database_url: str,
    outside_connection: asyncpg.Connection,
    tmp_path: Path,
    interruption: str,
    options: tuple[str, ...],
) -> None:
    file = tmp_path / "books.csv"
    if options:
        file.write_bytes(b"mine")
    files_before = list(tmp_path.iterdir())
    async with outside_connection.transaction():
        # The export waits for this lock after it has created its file.
        await outside_connection.execute("LOCK TABLE books IN ACCESS EXCLUSIVE MODE")
        process = await spawn_command(
            "export", "books", str(file), *options, environment={"DATABASE_URL": database_url}
        )

        async def find_waiting_process() -> object:
            return await outside_connection.fetchval(WAITING_PROCESS)

        await poll_until(find_waiting_process)
        assert len(list(tmp_path.iterdir())) == len(files_before) + 1
        if interruption == "database":
            waiting_process = await find_waiting_process()
            await outside_connection.execute("SELECT pg_terminate_backend($1)", waiting_process)
        else:
            process.send_signal(signal.Signals[interruption])
        code, out, err = await wait_for_result(process)
    exit_codes = {"database": 1, "SIGTERM": 143, "SIGINT": 130}
    assert (code, out) == (exit_codes[interruption], "")
    assert "Traceback" not in err
    assert err.count("\n") == (interruption == "database")
    assert list(tmp_path.iterdir()) == files_before
    if options:
        assert file.read_bytes() == b"mine"
