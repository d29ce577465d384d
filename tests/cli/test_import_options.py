"""Tests of the options of `import books` for files of other programs, and of dry runs."""

from datetime import UTC, date, datetime
from pathlib import Path

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from app.books.schemas import BookAuthor, BookRead
from app.core.formats import Format, create_writer
from tests.support import processes
from tests.support.commands import invoke_command

GOODBOOKS = (
    "book_id,isbn,authors,original_publication_year,original_title,title\n"
    '1,439023483,Suzanne Collins,2008.0,The Hunger Games,"The Hunger Games (#1)"\n'
    '2,439554934,"J.K. Rowling, Mary GrandPré",1997.0,Harry Potter,Harry Potter (#1)\n'
)
TITLES = "SELECT string_agg(title, '; ' ORDER BY created_at, id) FROM books"
DRY_RUN = "Books to add: {}, authors to add: {}{}. Nothing was changed (--dry-run).\n"


async def count_rows(connection: asyncpg.Connection) -> int:
    """Return the number of authors and books."""
    return int(
        await connection.fetchval("SELECT (SELECT count(*) FROM books) + count(*) FROM authors")
    )


async def test_import_maps_columns_and_ignores_the_others(
    database_url: str, outside_connection: asyncpg.Connection, tmp_path: Path
) -> None:
    file = tmp_path / "goodbooks.csv"
    file.write_text(GOODBOOKS)
    result = await invoke_command(
        "import", "books", str(file), "--column", "author=authors", "--column",
        "title=original_title", DATABASE_URL=database_url,
    )  # fmt: skip
    assert result == (0, "Books added: 2, authors added: 2\n", "")
    assert await outside_connection.fetchval(TITLES) == "The Hunger Games; Harry Potter"


async def test_import_ignores_other_columns_if_asked(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "books.csv"
    file.write_text('Title;Author;ISBN\nIliad;Homer;=""\n')
    command = ("import", "books", str(file))
    code, _, err = await invoke_command(*command, DATABASE_URL=database_url)
    assert code == 1
    assert err.startswith(f"bookshelf: cannot read {file}: line 1, the header, has unknown columns")
    result = await invoke_command(*command, "--ignore-other-columns", DATABASE_URL=database_url)
    assert result == (0, "Books added: 1, authors added: 1\n", "")


@pytest.mark.parametrize("options", [(), ("--delimiter", "|")])
async def test_import_reads_chosen_encoding_and_delimiter(
    database_url: str,
    outside_connection: asyncpg.Connection,
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    file = tmp_path / "books.tsv"
    file.write_bytes("author|title\rGabriel García Márquez|Cien años de soledad\r".encode("cp1252"))
    result = await invoke_command(
        "import", "books", str(file), "--encoding", "cp1252", *options, DATABASE_URL=database_url
    )
    assert result == (0, "Books added: 1, authors added: 1\n", "")
    assert await outside_connection.fetchval(TITLES) == "Cien años de soledad"


async def test_import_reads_json_array_from_standard_input(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    content = b'[{"author": {"name": "Homer"}, "title": "Iliad"},\n{"author": "Homer"}]'
    command = ("import", "books", "-", "--format", "json", "--column", "author=author.name")
    code, out, err = await processes.run_command(*command, input=content, DATABASE_URL=database_url)
    assert (code, out) == (3, "Books added: 1, authors added: 1, invalid lines: 1\n")
    assert err == (
        "standard input, line 2: item 2: author (column author.name): Required; title: Required\n"
    )
    assert await outside_connection.fetchval(TITLES) == "Iliad"


async def test_import_stores_nothing_if_json_array_ends_early(
    database_url: str, outside_connection: asyncpg.Connection, tmp_path: Path
) -> None:
    file = tmp_path / "books.json"
    file.write_text('[{"author": "Homer", "title": "Iliad"},\n{"author": "Homer", "ti')
    result = await invoke_command("import", "books", str(file), DATABASE_URL=database_url)
    message = f"bookshelf: cannot read {file}: line 2: item 2 is not valid JSON"
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(message)
    assert await count_rows(outside_connection) == 0


@pytest.mark.parametrize("name", ["books.xlsx", "books.csv", "books"])
async def test_import_names_an_excel_workbook_whatever_its_extension(
    database_url: str, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    file.write_bytes(b"PK\x03\x04" + bytes(100))
    result = await invoke_command("import", "books", str(file), DATABASE_URL=database_url)
    message = f"bookshelf: cannot read {file}: it is an Excel workbook (.xlsx) or another ZIP"
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(message)


async def test_delimiter_is_only_for_csv(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "books.json"
    file.write_text("[]")
    command = ("import", "books", str(file), "--delimiter", ";")
    result = await invoke_command(*command, DATABASE_URL=database_url)
    message = "bookshelf: --delimiter is only for CSV: leave it out for a JSON file\n"
    assert result == (1, "", message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--column", "authors=author"), "did you mean author=authors?"),
        (("--column", "isbn=ISBN"), "the fields are author, dob, title"),
        (("--column", "title"), "title is not of the form FIELD=COLUMN"),
        (("--column", "title="), "title= is not of the form FIELD=COLUMN"),
        (("--column", "title=a", "--column", "title=b"), "the field title has two columns"),
        (("--delimiter", "comma"), "the delimiter must be one character"),
        (("--encoding", "klingon"), "unknown encoding klingon"),
    ],
)
async def test_wrong_option_is_a_usage_error(options: tuple[str, ...], message: str) -> None:
    code, out, err = await invoke_command("import", "books", "-", *options)
    assert (code, out) == (2, "")
    # The message is in a box, whose lines are wrapped.
    words = err.replace("│", " ").split()
    assert message in " ".join(words)


@pytest.mark.parametrize(
    ("file_format", "separator"), [("csv", "_"), ("jsonl", ".")], ids=["csv", "jsonl"]
)
async def test_books_that_the_api_has_served_can_be_imported(
    database_url: str, tmp_path: Path, file_format: Format, separator: str
) -> None:
    author = BookAuthor(id=uuid7(), name="Jane Austen", dob=date(1775, 12, 16))
    now = datetime.now(UTC)
    book = BookRead(
        id=uuid7(), title="Emma", author_id=author.id, author=author, created_at=now,
        updated_at=now, version="1.1",
    )  # fmt: skip
    writer = create_writer(file_format, BookRead)
    file = tmp_path / f"books.{file_format}"
    file.write_bytes(writer.header + writer.format_lines([book]))
    columns = [f"author=author{separator}name", f"dob=author{separator}dob"]
    result = await invoke_command(
        "import", "books", str(file), "--column", columns[0], "--column", columns[1],
        DATABASE_URL=database_url,
    )  # fmt: skip
    assert result == (0, "Books added: 1, authors added: 1\n", "")


# Dry runs


async def test_dry_run_reports_what_an_import_would_add_and_changes_nothing(
    database_url: str, outside_connection: asyncpg.Connection, tmp_path: Path
) -> None:
    file, other_file = tmp_path / "books.csv", tmp_path / "more.csv"
    file.write_text("author,title\nHomer,Iliad\n")
    other_file.write_text(
        "author,title\nHomer,Iliad\nHomer,Odyssey\nHomer,Odyssey\nHesiod,Theogony\n"
    )
    await invoke_command("import", "books", str(file), DATABASE_URL=database_url)
    for _ in range(2):
        result = await invoke_command(
            "import", "books", str(other_file), "--dry-run", DATABASE_URL=database_url
        )
        assert result == (0, DRY_RUN.format(2, 1, ""), "")
        assert await count_rows(outside_connection) == 2
    result = await invoke_command("import", "books", str(other_file), DATABASE_URL=database_url)
    assert result == (0, "Books added: 2, authors added: 1\n", "")


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("author,title\nHomer,Iliad\nHomer\n", ()),
        ("author,title\nHomer,Iliad\nHomer\n", ("--strict",)),
        ("author,title\nHomer,Iliad\n", ("--strict",)),
        ("author\nHomer\n", ()),
        ("", ()),
    ],
)
async def test_dry_run_has_exit_code_and_errors_of_an_import(
    database_url: str,
    outside_connection: asyncpg.Connection,
    tmp_path: Path,
    content: str,
    options: tuple[str, ...],
) -> None:
    file = tmp_path / "books.csv"
    file.write_text(content)
    command = ("import", "books", str(file), *options)
    dry_run = await invoke_command(*command, "--dry-run", DATABASE_URL=database_url)
    assert await count_rows(outside_connection) == 0
    real_run = await invoke_command(*command, DATABASE_URL=database_url)
    assert (dry_run.exit_code, dry_run.stderr) == (real_run.exit_code, real_run.stderr)
    assert bool(dry_run.stdout) == bool(real_run.stdout)
