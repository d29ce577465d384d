"""Tests of `seed` and `import books`."""

import json
import os
from pathlib import Path

import asyncpg
import pytest

from app.core.schemas import EXAMPLE_ID
from tests.support import processes
from tests.support.commands import invoke_command
from tests.support.settings import UNREACHABLE_DATABASE_URL

HEADER = "author,dob,title\n"
ALL_TITLES = "SELECT string_agg(title, '; ' ORDER BY created_at, id) FROM books"


async def test_seed_adds_the_catalog_only_once(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    first = await invoke_command("seed", DATABASE_URL=database_url)
    books, authors = [
        await outside_connection.fetchval(f"SELECT count(*) FROM {t}") for t in ("books", "authors")
    ]
    assert books > 300
    assert first == (0, f"Books added: {books}, authors added: {authors}\n", "")
    # Examples of the OpenAPI document use this author and this book.
    for table in ("books", "authors"):
        query = f"SELECT count(*) FROM {table} WHERE id = $1"
        assert await outside_connection.fetchval(query, EXAMPLE_ID) == 1
    second = await invoke_command("seed", DATABASE_URL=database_url)
    assert second == (0, "Books added: 0, authors added: 0\n", "")
    assert await outside_connection.fetchval("SELECT count(*) FROM books") == books


async def test_import_recognizes_format_by_file_extension(
    database_url: str, outside_connection: asyncpg.Connection, tmp_path: Path
) -> None:
    table, lines = tmp_path / "books.csv", tmp_path / "books.jsonl"
    table.write_text(HEADER + "Homer,,Iliad\n")
    lines.write_text('{"author": "Homer", "title": "Odyssey"}\n')
    result = await invoke_command("import", "books", str(table), DATABASE_URL=database_url)
    assert result == (0, "Books added: 1, authors added: 1\n", "")
    result = await invoke_command(
        "import", "books", str(lines), "--strict", DATABASE_URL=database_url
    )
    assert result == (0, "Books added: 1, authors added: 0\n", "")
    assert await outside_connection.fetchval(ALL_TITLES) == "Iliad; Odyssey"


async def test_import_reads_standard_input_in_chosen_format(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    line = json.dumps({"author": "Homer", "title": "Iliad"}).encode()
    command = ("import", "books", "-", "--format", "jsonl")
    result = await processes.run_command(*command, input=line, DATABASE_URL=database_url)
    assert result == (0, "Books added: 1, authors added: 1\n", "")
    assert await outside_connection.fetchval(ALL_TITLES) == "Iliad"


async def test_import_reports_invalid_lines_and_exits_with_code_3(
    database_url: str, outside_connection: asyncpg.Connection, tmp_path: Path
) -> None:
    file = tmp_path / "books.csv"
    file.write_bytes(
        HEADER.encode() + b"Homer,,Iliad\nHomer,Iliad\nHomer,,Ody\xff\nHomer,yesterday,A\n"
        b'Homer,,"Margites\nHomer,,Odyssey\n'
    )
    code, out, err = await invoke_command("import", "books", str(file), DATABASE_URL=database_url)
    assert (code, out) == (3, "Books added: 2, authors added: 1, invalid lines: 4\n")
    assert [line.partition(":")[0] for line in err.splitlines()] == [
        f"{file}, line {number}" for number in (3, 4, 5, 6)
    ]
    assert err.startswith(f"{file}, line 3: has 2 values instead of 3: ")
    assert await outside_connection.fetchval(ALL_TITLES) == "Iliad; Odyssey"


async def test_import_removes_control_characters_from_messages(
    database_url: str, tmp_path: Path
) -> None:
    lines = [{"author": "A", "title": "B", "[red]\x1b[2J :smile:\n": 1}, {"x" * 300: 1}]
    file = tmp_path / "books.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    result = await invoke_command("import", "books", str(file), DATABASE_URL=database_url)
    first, second = result.stderr.splitlines()
    assert first.startswith(f"{file}, line 1: has unknown columns: [red]?[2J :smile:. ")
    assert "x" * 100 in second


async def test_strict_import_with_invalid_lines_stores_nothing(
    database_url: str, outside_connection: asyncpg.Connection, tmp_path: Path
) -> None:
    file = tmp_path / "books.csv"
    file.write_text(HEADER + "Homer,,Iliad\nHomer,Iliad\nHomer,,Odyssey\nHomer,,\n")
    code, out, err = await invoke_command(
        "import", "books", str(file), "--strict", DATABASE_URL=database_url
    )
    assert (code, out) == (1, "")
    line_3, line_5, sentence = err.splitlines()
    assert line_3.startswith(f"{file}, line 3: has 2 values instead of 3")
    assert line_5.startswith(f"{file}, line 5: title: Required")
    assert sentence == "bookshelf: nothing was imported, because lines are invalid"
    assert await outside_connection.fetchval("SELECT count(*) FROM authors") == 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "books.txt",
            (),
            (
                "cannot read {}: its format is unknown: pass --format csv, --format jsonl or"
                " --format json"
            ),
        ),
        ("missing.csv", (), "cannot read {}: No such file or directory"),
        (".", ("--format", "csv"), "cannot read {}: Is a directory"),
        (
            "books.txt",
            ("--format", "csv"),
            (
                "cannot read {}: line 1, the header, has no columns author, title."
                " Its other columns are Homer, (without a name), Iliad."
                " Say from which columns to read, for example:"
                " --column author=COLUMN --column title=COLUMN."
                " If the file has no header, add one as its first line: author,dob,title"
            ),
        ),
    ],
)
async def test_import_fails_with_one_line_if_file_cannot_be_read(
    database_url: str, tmp_path: Path, name: str, options: tuple[str, ...], message: str
) -> None:
    (tmp_path / "books.txt").write_text("Homer,,Iliad\n")
    path = str(tmp_path / name)
    result = await invoke_command("import", "books", path, *options, DATABASE_URL=database_url)
    assert result == (1, "", f"bookshelf: {message.format(path)}\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
async def test_import_fails_with_one_line_without_permission_to_read(
    database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "books.csv"
    file.touch(mode=0)
    result = await invoke_command("import", "books", str(file), DATABASE_URL=database_url)
    assert result == (1, "", f"bookshelf: cannot read {file}: Permission denied\n")


async def test_import_reports_every_line_if_format_is_wrong(
    database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "books.csv"
    file.write_text(HEADER + "Homer,,Iliad\n")
    code, out, err = await invoke_command(
        "import", "books", str(file), "--format", "jsonl", DATABASE_URL=database_url
    )
    assert (code, out) == (3, "Books added: 0, authors added: 0, invalid lines: 2\n")
    message = "is not valid JSON or repeats a key"
    assert err == "".join(f"{file}, line {number}: {message}\n" for number in (1, 2))


async def test_unknown_commands_and_options_are_usage_errors() -> None:
    for words in (("import", "books", "-", "--format", "xml"), ("imports",)):
        code, out, err = await invoke_command(*words)
        assert (code, out) == (2, "")
        assert err.startswith("Usage: ")


async def test_commands_fail_with_one_line_without_password_if_database_is_unreachable() -> None:
    shown = "(postgresql+asyncpg://somebody:***@127.0.0.1:1/books)"
    for command in (("seed",), ("jobs", "list")):
        result = await invoke_command(*command, DATABASE_URL=UNREACHABLE_DATABASE_URL)
        assert result == (1, "", f"bookshelf: database: does not accept connections {shown}\n")


async def test_commands_recommend_migrate_if_database_is_not_migrated(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute("DROP TABLE alembic_version")
    for command in (("export", "books"), ("jobs", "list")):
        code, out, err = await invoke_command(*command, DATABASE_URL=database_url)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert err.startswith("bookshelf: database: its schema is at revision none, not at ")
        assert err.endswith("): run python -m app migrate\n")
