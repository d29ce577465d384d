"""CSV, JSON lines and JSON: models survive a round trip, and an invalid line affects no others."""

import json
from collections.abc import Iterator
from io import BytesIO
from itertools import repeat
from typing import get_args

import pytest

from app.books.schemas import BookLine
from app.core.formats import LINE_TOO_LONG, MAX_LINE_LENGTH, Format, create_writer, parse_lines

FORMATS: tuple[Format, ...] = get_args(Format)
ALL_FORMATS = pytest.mark.parametrize("file_format", FORMATS)
LINE_FORMATS: tuple[Format, ...] = ("csv", "jsonl")
EVERY_LINE_FORMAT = pytest.mark.parametrize("file_format", LINE_FORMATS)
CSV_HEADER = b"author,dob,title\n"
MAX_PIECE_BYTES = 8192
# In the values of invalid lines. Error messages must not repeat it.
SECRET = "hunter2"
TITLES = (
    "Emma", '"Emma"', '"', '""', 'He said "no", twice', "a,b", ",", "a\nb", "a\r\nb", "a\rb", "\ra",
    "a\n", "\nEmma", "Emma\n", " Emma", "Emma ", "\tEmma\t", " a ", "Cien años", "e\u0301", "東京",
    "👩‍🚀 \U0001f4da", "a\u2028\x85\x1c\x0b\x0c", "\ufeffEmma", "=1+1", "'", "\\", "\\n", "null",
    "", "None", "1813", "#1", "x" * 300, "\U0001f4da" * 300, '"' * 300, "a" + "\n" * 299,
)  # fmt: skip
BOOKS = [
    BookLine(author=title[:200], dob=dob, title=title)
    for title in TITLES
    if title
    for dob in (None, "0001-01-02", "1775-12-16", "9999-12-30")
]
VALID_LINES: dict[Format, bytes] = {
    "csv": b"A,,valid",
    "jsonl": b'{"author": "A", "title": "valid"}',
}


def parse(file_format: Format, content: bytes) -> list[tuple[int, BookLine | str]]:
    """Return the number of each line, with its book or an error message."""
    return list(parse_lines(file_format, BookLine, BytesIO(content)))


def make_book(title: str, author: str = "A", dob: str | None = None) -> BookLine:
    return BookLine(author=author, dob=dob, title=title)


def csv_header(file_format: Format) -> bytes:
    """Return the header with which a file of this format begins. JSON lines have none."""
    if file_format == "csv":
        return CSV_HEADER
    return b""


def file_with_lines(file_format: Format, *lines: bytes, line_end: bytes = b"\n") -> bytes:
    """Return a file that has these lines between two valid ones, below the header of CSV."""
    header = csv_header(file_format).replace(b"\n", line_end)
    valid_line = VALID_LINES[file_format]
    return header + line_end.join([valid_line, *lines, valid_line, b""])


def first_line_number(file_format: Format) -> int:
    """Return the number of the first line below the header."""
    if file_format == "csv":
        return 2
    return 1


def test_formats_are_csv_json_lines_and_json() -> None:
    assert FORMATS == ("csv", "jsonl", "json")


# Round trips


@ALL_FORMATS
def test_written_models_are_read_back(file_format: Format) -> None:
    writer = create_writer(file_format, BookLine)
    content = (
        writer.header
        + writer.format_lines(BOOKS[:7])
        + writer.format_lines([])
        + writer.format_lines(BOOKS[7:])
        + writer.footer
    )
    assert [book for _, book in parse(file_format, content)] == BOOKS
    other_writer = create_writer(file_format, BookLine)
    lines = [other_writer.format_lines([book]) for book in BOOKS]
    assert content == other_writer.header + b"".join(lines) + other_writer.footer


@ALL_FORMATS
def test_file_without_models_is_read_as_empty(file_format: Format) -> None:
    writer = create_writer(file_format, BookLine)
    content = writer.header + writer.format_lines([]) + writer.footer
    assert parse(file_format, content) == []


@ALL_FORMATS
@pytest.mark.parametrize("byte_order_mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("ends_last_line", [True, False])
def test_byte_order_mark_and_line_ends_do_not_matter(
    file_format: Format, byte_order_mark: bytes, line_end: bytes, *, ends_last_line: bool
) -> None:
    books = [make_book("Emma"), make_book("Persuasion")]
    writer = create_writer(file_format, BookLine)
    lines = (writer.header + writer.format_lines(books) + writer.footer).splitlines()
    content = byte_order_mark + line_end.join(lines)
    if ends_last_line:
        content += line_end
    assert [book for _, book in parse(file_format, content)] == books


def test_byte_order_mark_after_the_first_line_is_text() -> None:
    content = CSV_HEADER + b"\xef\xbb\xbfA,,Emma\n"
    assert parse("csv", content) == [(2, make_book("Emma", "\ufeffA"))]


@EVERY_LINE_FORMAT
def test_empty_lines_are_skipped_but_counted(file_format: Format) -> None:
    content = file_with_lines(file_format, b"", b"", line_end=b"\r\n")
    first = first_line_number(file_format)
    assert [number for number, _ in parse(file_format, content)] == [first, first + 3]


# Invalid lines

INVALID_LINES: dict[Format, dict[str, bytes]] = {
    "csv": {
        "too few columns": b"hunter2,Emma",
        "too many columns": b"A,,hunter2,Emma",
        "one column": b"hunter2",
        "only spaces": b"  ",
        "unclosed quote": b'A,,"hunter2',
        "unclosed quote in the first column": b'"hunter2,,Emma',
        "text after a quote": b'A,,"Emma"hunter2',
        "bad UTF-8": b"A,,hunter2\xff",
        "Latin-1": "A,,hunter2 años".encode("latin-1"),
        "encoded surrogate": b"A,,hunter2\xed\xa0\x80",
        "NUL": b"A,,hunter2\x00",
        "no author": b",,hunter2",
        "no title": b"hunter2,,",
        "long title": b"A,," + b"hunter2" * 43,
        "long author": b"hunter2" * 29 + b",,Emma",
        "text for a date": b"A,hunter2,Emma",
        "nonexistent date": b"A,1775-02-30,hunter2",
        "date and time": b"A,1775-12-16T00:00:00,hunter2",
        "number for a date": b"A,1775,hunter2",
        "infinite date": b"A,9999-12-31,hunter2",
        "long line": b"A,," + b"hunter2" * MAX_LINE_LENGTH,
        "line one character too long": b"A,," + b"x" * (MAX_LINE_LENGTH - 3),
    },
    "jsonl": {
        "not JSON": b"hunter2",
        "half an object": b'{"author": "hunter2",',
        "two objects": b'{"author": "A", "title": "hunter2"} {}',
        "list": b'["hunter2"]',
        "string": b'"hunter2"',
        "null": b"null",
        "bad UTF-8": b'{"author": "A", "title": "hunter2\xff"}',
        "repeated key": b'{"author": "A", "title": "hunter2", "title": "Emma"}',
        "lone surrogate": rb'{"author": "A", "title": "hunter2\ud800"}',
        "encoded surrogate": b'{"author": "A", "title": "hunter2\xed\xa0\x80"}',
        "NUL": rb'{"author": "A", "title": "hunter2\u0000"}',
        "raw NUL": b'{"author": "A", "title": "hunter2\x00"}',
        "unknown key": b'{"author": "A", "title": "Emma", "isbn": "hunter2"}',
        "no title": b'{"author": "hunter2"}',
        "empty title": b'{"author": "hunter2", "title": ""}',
        "null for a title": b'{"author": "hunter2", "title": null}',
        "long title": b'{"author": "A", "title": "' + b"hunter2" * 43 + b'"}',
        "text for a date": b'{"author": "A", "dob": "hunter2", "title": "Emma"}',
        "empty date": b'{"author": "A", "dob": "", "title": "hunter2"}',
        "number for a date": b'{"author": "A", "dob": 1775, "title": "hunter2"}',
        "number for a title": b'{"author": "hunter2", "title": 1984}',
        "deep nesting": b"[" * 10_000,
        "long line": b'{"author": "A", "title": "' + b"hunter2" * MAX_LINE_LENGTH + b'"}',
        "long integer": b'{"author": "A", "title": ' + b"1" * 10_000 + b"}",
    },
}
INVALID_CASES = pytest.mark.parametrize(
    ("file_format", "case"),
    [(file_format, case) for file_format in LINE_FORMATS for case in INVALID_LINES[file_format]],
)


@INVALID_CASES
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_invalid_line_gets_a_message_and_the_other_lines_are_read(
    file_format: Format, case: str, line_end: bytes
) -> None:
    invalid_line = INVALID_LINES[file_format][case]
    content = file_with_lines(file_format, invalid_line, line_end=line_end)
    (_, book_before), (number, message), (_, book_after) = parse(file_format, content)
    assert isinstance(book_before, BookLine)
    assert isinstance(book_after, BookLine)
    assert number == first_line_number(file_format) + 1
    assert isinstance(message, str)
    assert 5 < len(message) < 250
    assert SECRET not in message


@INVALID_CASES
@pytest.mark.parametrize("line_end", [b"\n", b""])
def test_invalid_line_at_the_end_of_a_file_gets_a_message(
    file_format: Format, case: str, line_end: bytes
) -> None:
    content = file_with_lines(file_format) + INVALID_LINES[file_format][case] + line_end
    *_, (_, book_before), (number, message) = parse(file_format, content)
    assert isinstance(book_before, BookLine)
    assert isinstance(message, str)
    assert number == first_line_number(file_format) + 2


@EVERY_LINE_FORMAT
def test_each_of_many_invalid_lines_gets_a_message(file_format: Format) -> None:
    lines: list[bytes] = []
    for invalid_line in INVALID_LINES[file_format].values():
        lines += [invalid_line, VALID_LINES[file_format]]
    parsed_lines = parse(file_format, file_with_lines(file_format, *lines))
    invalid_numbers = [number for number, line in parsed_lines if isinstance(line, str)]
    # Every second line is invalid, beginning with the second one.
    first = first_line_number(file_format) + 1
    assert invalid_numbers == list(range(first, first + len(lines), 2))
    assert len(parsed_lines) == len(lines) + 2


@EVERY_LINE_FORMAT
def test_line_of_exactly_the_maximum_length_is_read(file_format: Format) -> None:
    header = csv_header(file_format)
    start = b'{"author": "A", "title": "'
    end = b'"}\n'
    if file_format == "csv":
        start = b'A,,"'
        end = b'"\n'
    longest_line = start + b"x" * (MAX_LINE_LENGTH - len(start) - len(end)) + end
    [(_, message)] = parse(file_format, header + longest_line)
    assert message == "title: Must have at most 300 characters"
    [(_, message)] = parse(file_format, header + b" " + longest_line)
    assert message == LINE_TOO_LONG


def test_message_names_every_field_error_of_a_line() -> None:
    line = json.dumps({"author": "", "dob": "x", "isbn": 1}).encode()
    [(_, message)] = parse("jsonl", line)
    assert isinstance(message, str)
    field_errors = message.split("; ")
    fields = [field_error.split(":")[0] for field_error in field_errors]
    assert fields[:2] == ["author", "dob"]
    assert field_errors[2].startswith("has no column title. Its other columns are isbn. ")


# CSV records of several lines, and quotes


def test_record_of_several_lines_has_the_number_of_the_first() -> None:
    content = CSV_HEADER + b'A,,"a\n\nb"\nA,,b\n"A\n",,\nA,,"c\n"\n'
    assert parse("csv", content) == [
        (2, make_book("a\n\nb")),
        (5, make_book("b")),
        (6, "title: Required"),
        (8, make_book("c\n")),
    ]


def test_quote_within_an_unquoted_value_is_text() -> None:
    content = CSV_HEADER + b'A,,6" nails\nA,,6" by 4" nails\nA,,6" nails'
    books = [book for _, book in parse("csv", content)]
    assert books == [make_book('6" nails'), make_book('6" by 4" nails'), make_book('6" nails')]


@pytest.mark.parametrize(
    ("following_line", "is_record"),
    [
        (b"", False),
        (b"A,,b\n", True),
        (b'A,,"b"\n', True),
        (b"\n", False),
        (b"A,," + b"x" * 99 + b"\n", True),
    ],
)
def test_unclosed_quote_invalidates_only_its_line(
    following_line: bytes, *, is_record: bool
) -> None:
    parsed_lines = parse("csv", CSV_HEADER + b'A,,"a\n' + following_line * 5000)
    assert [number for number, line in parsed_lines if isinstance(line, str)] == [2]
    valid_count = len(parsed_lines) - 1
    assert valid_count == (5000 if is_record else 0)


def test_search_for_a_closing_quote_ends_at_a_line_that_is_too_long() -> None:
    content = CSV_HEADER + b'A,,"a\n' + b"x" * MAX_LINE_LENGTH + b'\nA,,b"\nA,,c\n'
    assert [(number, type(line)) for number, line in parse("csv", content)] == [
        (2, str), (3, str), (4, BookLine), (5, BookLine),
    ]  # fmt: skip


# Large files


class GeneratedFile(BytesIO):
    """A file that repeats a piece without holding it in memory, and counts the reads."""

    def __init__(self, piece: bytes, count: int, header: bytes = b"") -> None:
        super().__init__(header)
        self._pieces = repeat(piece, count)
        self.read_count = 0

    def read1(self, size: int | None = -1, /) -> bytes:
        self.read_count += 1
        assert size is not None
        assert 0 < size <= MAX_PIECE_BYTES
        header = super().read1(size)
        if header:
            return header
        return next(self._pieces, b"")


@EVERY_LINE_FORMAT
def test_line_of_50_megabytes_is_skipped_in_pieces(file_format: Format) -> None:
    piece_count = 50 * 2**20 // MAX_PIECE_BYTES
    file = GeneratedFile(b"x" * MAX_PIECE_BYTES, piece_count, csv_header(file_format))
    [(_, message)] = parse_lines(file_format, BookLine, file)
    assert message == LINE_TOO_LONG
    assert file.read_count <= piece_count + 4


@pytest.mark.parametrize("line", [b'A,,"x\n', b'"\n', b'A,,"x"y\n', b'A,,6" x\n', b'A,"",""x\n'])
def test_each_line_is_read_once_however_many_have_quotes(line: bytes) -> None:
    file = GeneratedFile(line, 20_000, CSV_HEADER)
    assert sum(1 for _ in parse_lines("csv", BookLine, file)) <= 20_000
    assert file.read_count <= 20_010


@EVERY_LINE_FORMAT
def test_lines_are_read_only_when_they_are_needed(file_format: Format) -> None:
    line = VALID_LINES[file_format] + b"\n"
    file = GeneratedFile(line, 10**9, csv_header(file_format))
    parsed_lines: Iterator[object] = parse_lines(file_format, BookLine, file)
    for _ in range(100):
        next(parsed_lines)
    assert file.read_count <= 105
