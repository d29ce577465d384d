"""Wrong quotes of CSV are reported on the line on which the value begins."""

from io import BytesIO

import pytest

from app.books.schemas import BookLine
from app.core.formats import MAX_LINE_LENGTH, InvalidLine, parse_lines

HEADER = b"author,title\n"
NEVER_CLOSED = "begins a quoted value that is never closed"
TEXT_AFTER = "has text after a closing quote"


def next_quote(line_number: int) -> str:
    """Return the message about a value whose next quote, on this line, does not close it."""
    return (
        "begins a quoted value that is not closed"
        f" (the next quote, on line {line_number}, is followed by text)"
    )


def read_lines(content: bytes) -> list[tuple[int, str]]:
    """Return the line number of each line, and its title or the error message without advice."""
    lines = []
    for line in parse_lines("csv", BookLine, BytesIO(content)):
        if isinstance(line, InvalidLine):
            lines.append((line.line_number, line.error_message.partition(": write")[0]))
        else:
            lines.append((line.line_number, line.item.title))
    return lines


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (b'A,"a\nB,b\n', [(2, NEVER_CLOSED), (3, "b")]),
        (b'"A,a\nB,b\n', [(2, NEVER_CLOSED), (3, "b")]),
        (b'A,"a""\nB,b\n', [(2, NEVER_CLOSED), (3, "b")]),
        (b'A,"', [(2, NEVER_CLOSED)]),
        (b'A,"a\nB,"b"\nC,c\n', [(2, next_quote(3)), (3, "b"), (4, "c")]),
        (b'A,"a\n\nB,b\nC,"c"\n', [(2, next_quote(5)), (4, "b"), (5, "c")]),
        (b'"A\n","a\nB,b\n', [(3, NEVER_CLOSED), (4, "b")]),
        (b'"A\n\nA","a\nB,b\nC,"c"\n', [(4, next_quote(6)), (5, "b"), (6, "c")]),
        (b'A,"a"x\nB,b\n', [(2, TEXT_AFTER), (3, "b")]),
        (b'A,"a" \nB,b\n', [(2, TEXT_AFTER), (3, "b")]),
        (b'A,""a""\nB,b\n', [(2, TEXT_AFTER), (3, "b")]),
        (b'A,"a\nb"x\nB,b\n', [(2, next_quote(3)), (3, "has 1 value instead of 2"), (4, "b")]),
        (b'A,6" nails, "b"\nB,b\n', [(2, "has 3 values instead of 2"), (3, "b")]),
    ],
)
def test_wrong_quote_is_reported_on_the_line_on_which_its_value_begins(
    lines: bytes, expected: list[tuple[int, str]]
) -> None:
    assert read_lines(HEADER + lines) == expected


def test_line_that_is_quoted_as_a_whole_is_named() -> None:
    content = HEADER + b'"A,""Iliad, Odyssey"""\n'
    [line] = parse_lines("csv", BookLine, BytesIO(content))
    advice = "remove the quotes around the whole line, or export the file again"
    assert line == (2, f"has 1 value instead of 2: {advice}")


def test_record_of_too_many_lines_is_reported_with_the_limit() -> None:
    line = b"x" * 50_000 + b"\n"
    content = HEADER + b'A,"' + line * 3 + b'"\nB,b\n'
    (number, message), *_, last_line = read_lines(content)
    limit = f"begins a quoted value that is not closed within {MAX_LINE_LENGTH} characters"
    assert (number, message) == (2, limit)
    assert last_line == (6, "b")


def test_record_of_several_lines_may_have_the_maximum_length() -> None:
    lines = b'A,"a\n' + b"x" * (MAX_LINE_LENGTH - 7) + b'"\n'
    assert len(lines) == MAX_LINE_LENGTH
    [(_, message)] = read_lines(HEADER + lines)
    assert message == "title: Must have at most 300 characters"


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_wrong_quote_is_reported_with_every_delimiter(delimiter: str) -> None:
    content = f'author{delimiter}title\n"A"{delimiter}"a\nB{delimiter}b\n'
    assert read_lines(content.encode()) == [(2, NEVER_CLOSED), (3, "b")]


def test_unclosed_quote_at_the_start_of_a_large_file_is_reported_without_reading_all_of_it() -> (
    None
):
    line = b"A,a\n"
    content = BytesIO(HEADER + b'A,"a\n' + line * (10 * MAX_LINE_LENGTH))
    first = next(parse_lines("csv", BookLine, content))
    assert first[0] == 2
    assert isinstance(first, InvalidLine)
    assert content.tell() < 2 * MAX_LINE_LENGTH
