"""Files in other encodings, with other line ends, and files that are not text."""

import gzip
from collections.abc import Iterator
from io import BytesIO
from zipfile import ZipFile

import pytest

from app.books.schemas import BookLine
from app.core.formats import (
    Format,
    InvalidLine,
    ReadOptions,
    check_encoding,
    parse_delimiter,
    parse_lines,
)

CSV = "author,title\nJosé Saramago,Ensaio sobre a cegueira\nЮлия,Идиот\n夏目漱石,心\n"
JSON_LINES = (
    '{"author": "José Saramago", "title": "Ensaio sobre a cegueira"}\n'
    '{"author": "Юлия", "title": "Идиот"}\n{"author": "夏目漱石", "title": "心"}\n'
)
CONTENTS: dict[Format, str] = {
    "csv": CSV,
    "jsonl": JSON_LINES,
    "json": f"[{','.join(JSON_LINES.splitlines(keepends=True))}]",
}
TITLES = ["Ensaio sobre a cegueira", "Идиот", "心"]
EVERY_FORMAT = pytest.mark.parametrize("file_format", CONTENTS)


def read_titles(file_format: Format, content: bytes, encoding: str | None = None) -> list[str]:
    """Return the title, or the line number and the error message, of each line."""
    titles = []
    for line in parse_lines(
        file_format, BookLine, BytesIO(content), ReadOptions(encoding=encoding)
    ):
        if isinstance(line, InvalidLine):
            titles.append(f"{line.line_number}: {line.error_message}")
        else:
            titles.append(line.item.title)
    return titles


@EVERY_FORMAT
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_unicode_encoding_is_recognized(file_format: Format, encoding: str) -> None:
    content = CONTENTS[file_format].encode(encoding)
    assert read_titles(file_format, content) == TITLES


@EVERY_FORMAT
@pytest.mark.parametrize("mark", [b"\xfe\xff", b""])
@pytest.mark.parametrize("encoding", [None, "utf-16"])
def test_utf_16_big_endian_is_recognized(
    file_format: Format, mark: bytes, encoding: str | None
) -> None:
    content = mark + CONTENTS[file_format].encode("utf-16-be")
    assert read_titles(file_format, content, encoding) == TITLES


@EVERY_FORMAT
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_mark_takes_precedence_over_chosen_encoding(
    file_format: Format, encoding: str
) -> None:
    content = CONTENTS[file_format].encode(encoding)
    assert read_titles(file_format, content, "cp1252") == TITLES


@EVERY_FORMAT
@pytest.mark.parametrize("encoding", ["gb18030", "utf-7", "UTF8", "utf_16_le"])
def test_chosen_encoding_is_used(file_format: Format, encoding: str) -> None:
    content = CONTENTS[file_format].encode(encoding)
    assert read_titles(file_format, content, encoding) == TITLES


@pytest.mark.parametrize("line_end", ["\r", "\r\n", "\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_every_line_end_ends_a_line(file_format: Format, encoding: str, line_end: str) -> None:
    content = CONTENTS[file_format].replace("\n", line_end).encode(encoding)
    assert read_titles(file_format, content) == TITLES


def test_line_ends_of_several_kinds_are_counted_as_one_line_each() -> None:
    content = b'author,title\r\n\r\nA,a\rA,b\n"A\r\n\r\n","c"\rA,d\n\nA\n'
    assert read_titles("csv", content)[:4] == ["a", "b", "c", "d"]
    assert read_titles("csv", content)[4].startswith("10: has 1 value instead of 2")


@pytest.mark.parametrize(
    ("file_format", "content", "message"),
    [
        (
            "csv",
            b"author,title\nA,a\nA,caf\xe9 \xe9\n",
            "3: byte 6 is 0xE9, which is not valid UTF-8",
        ),
        ("csv", b'author,title\nA,"a\n\xc3\xa9 \x93b"\n', "3: byte 4 is 0x93, which is not valid"),
        ("jsonl", b'\n\n{"author": "\xff"}\n', "3: byte 13 is 0xFF, which is not valid UTF-8"),
        (
            "json",
            b'[\n\n{"author": "\xff"}\n]',
            "3: item 1: byte 13 is 0xFF, which is not valid UTF-8",
        ),
    ],
)
def test_undecodable_byte_is_named_with_line_and_offset(
    file_format: Format, content: bytes, message: str
) -> None:
    *_, last = read_titles(file_format, content)
    assert last.startswith(message)
    assert last.endswith("--encoding cp1252 (Windows, western languages)")


def test_file_in_windows_encoding_is_read_if_it_is_named() -> None:
    content = "author,title\nA,“café” 5 €\n".encode("cp1252")
    assert read_titles("csv", content, "cp1252") == ["“café” 5 €"]


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (b"author,title\nA,\x81\n", "cp1252", "2: byte 3 is 0x81, which is not valid CP1252"),
        (b"author,title\nA,\xe9\n", "ascii", "2: byte 3 is 0xE9, which is not valid ASCII"),
        (
            "author,title\nA,".encode("utf-16") + b"\x00\xd8\n\x00",
            None,
            "2: byte 5 is 0x00, which is not valid UTF-16-LE",
        ),
        (
            "author,title\nA,a".encode("utf-16") + b"\n",
            None,
            "2: byte 7 is 0x0A, which is not valid UTF-16-LE",
        ),
    ],
)
def test_byte_that_the_encoding_does_not_have_is_named(
    content: bytes, encoding: str | None, message: str
) -> None:
    [line] = read_titles("csv", content, encoding)
    assert line.startswith(message)


def test_text_with_some_zero_bytes_is_not_taken_for_utf_16() -> None:
    content = b"author,title\nA,a\0b\nA,c\n"
    assert read_titles("csv", content) == ["2: title: Must not contain NUL characters", "c"]


def workbook() -> bytes:
    """Return a ZIP archive, which is what an Excel workbook is."""
    content = BytesIO()
    with ZipFile(content, "w") as archive:
        archive.writestr("xl/workbook.xml", "")
    return content.getvalue()


@EVERY_FORMAT
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (workbook(), "an Excel workbook (.xlsx) or another ZIP archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "an old Excel workbook (.xls)"),
        (gzip.compress(CSV.encode()), "compressed with gzip"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"<!DOCTYPE html>\n<html>", "HTML or XML"),
        (b"SQLite format 3\0", "a SQLite database"),
    ],
)
def test_file_that_is_not_text_is_named(file_format: Format, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=r"^it is .*, not CSV or JSON: ") as error:
        read_titles(file_format, content)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "name", ["", "klingon", "zip", "rot13", "base64", "undefined", "idna", "\0"]
)
def test_unknown_encoding_is_rejected(name: str) -> None:
    with pytest.raises(ValueError, match=r"^unknown encoding .*: examples of known encodings"):
        check_encoding(name)


@pytest.mark.parametrize(
    ("text", "delimiter"), [(";", ";"), ("tab", "\t"), (r"\t", "\t"), (" ", " ")]
)
def test_delimiter_is_parsed(text: str, delimiter: str) -> None:
    assert parse_delimiter(text) == delimiter


@pytest.mark.parametrize("text", ["", '"', "\n", "\r", ";;", "comma", r"\n"])
def test_wrong_delimiter_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"^the delimiter must be one character"):
        parse_delimiter(text)


class SlowPipe(BytesIO):
    """A pipe that always has one byte. It is a test error to read it after `end`."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._bytes: Iterator[int] = iter(content)

    def read1(self, _size: int | None = -1, /) -> bytes:
        return bytes([next(self._bytes)])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le"])
def test_line_of_a_pipe_is_read_as_soon_as_it_is_complete(encoding: str) -> None:
    pipe = SlowPipe("author,title\nA,€\nB".encode(encoding))
    first = next(parse_lines("csv", BookLine, pipe))
    assert first == (2, BookLine(author="A", title="€"))
