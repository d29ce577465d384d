"""JSON objects stay on one line, whichever character a reader takes for the end of a line."""

import json
import logging
import sys
from pathlib import Path

import pytest
from httpx import AsyncClient

from app.core.observability import create_log_formatter
from tests.support.commands import invoke_command
from tests.support.factories import make_author, make_book
from tests.support.streamed_lists import get_stream

# The characters at which Python ends a line. Those of other readers are among them.
LINE_SEPARATORS = [
    chr(code) for code in range(sys.maxunicode + 1) if len(f"a{chr(code)}b".splitlines()) > 1
]
TITLE = f"Emma{''.join(LINE_SEPARATORS)}b"


def test_python_ends_lines_at_separators_of_unicode() -> None:
    assert {"\n", "\r", "\x0b", "\x0c", "\x1e", "\x85", "\u2028", "\u2029"} <= set(LINE_SEPARATORS)


@pytest.mark.parametrize("separator", LINE_SEPARATORS, ids=ascii)
async def test_stream_has_one_line_per_object_with_separator(
    client: AsyncClient, separator: str
) -> None:
    author = await make_author(client, name=f"a{separator}b")
    lines = (await get_stream(client, "/authors")).text.splitlines()
    assert [json.loads(line)["name"] for line in lines] == [author["name"]]


async def test_embedded_object_stays_on_the_line_of_its_book(client: AsyncClient) -> None:
    author = await make_author(client, name=TITLE)
    book = await make_book(client, title=TITLE, author_id=author["id"])
    lines = (await get_stream(client, "/books")).text.splitlines()
    assert [json.loads(line) for line in lines] == [book]


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
async def test_exported_file_has_one_line_per_object_and_can_be_imported(
    client: AsyncClient, database_url: str, tmp_path: Path, suffix: str
) -> None:
    author = await make_author(client, name=TITLE)
    await make_book(client, title=TITLE, author_id=author["id"])
    path = str(tmp_path / f"books.{suffix}")
    await invoke_command("export", "books", path, DATABASE_URL=database_url)
    text = Path(path).read_bytes().decode()
    assert len(text.strip("[]\n").splitlines()) == 1
    result = await invoke_command("import", "books", path, DATABASE_URL=database_url)
    assert result.exit_code == 0


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_log_record_is_one_line(log_format: str) -> None:
    record = logging.LogRecord("test", logging.INFO, "", 0, TITLE, None, None)
    assert len(create_log_formatter(log_format).format(record).splitlines()) == 1
