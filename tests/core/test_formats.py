"""Files of models: what is written is read again, and a bad line costs itself alone."""

import json
from collections.abc import Iterator
from io import BytesIO
from itertools import repeat
from typing import Any, get_args

import pytest

from app.books.schemas import BookLine
from app.core.formats import LINE_TOO_LONG, MAX_LINE_BYTES, Format, create_writer, parse_lines

FORMS: tuple[Format, ...] = get_args(Format)
HEAD = b"author,dob,title\n"
SECRET = "hunter2"  # no reason repeats it
TITLES = (
    "Emma", '"Emma"', '"', '""', 'He said "no", twice', "a,b", ",", "a\nb", "a\r\nb", "a\rb", "\r",
    "\n", "\nEmma", "Emma\n", " Emma", "Emma ", "\tEmma\t", " ", "Cien años", "e\u0301", "東京",
    "👩‍🚀 \U0001f4da", "\u2028\x85\x1c\x0b\x0c", "\ufeffEmma", "=1+1", "'", "\\", "\\n", "null", "",
    "None", "1813", "#1", "x" * 300, "\U0001f4da" * 300, '"' * 300, "\n" * 300,
)  # fmt: skip
MODELS = [
    BookLine(author=title[:200], dob=dob, title=title)
    for title in TITLES
    if title
    for dob in (None, "0001-01-02", "1775-12-16", "9999-12-30")
]


def lines(form: Format, content: bytes) -> list[tuple[int, BookLine | str]]:
    return list(parse_lines(form, BookLine, BytesIO(content)))


def book(title: str, author: str = "A", dob: str | None = None) -> BookLine:
    return BookLine(author=author, dob=dob, title=title)


def file(form: Format, *given: bytes, end: bytes = b"\n") -> bytes:
    """A file of these lines between good ones; in CSV below the header."""
    good = {"csv": (b"A,,first", b"A,,last"), "jsonl": (b'{"author": "A", "title": "first"}',) * 2}
    head = [HEAD.strip()] if form == "csv" else []
    return end.join([*head, good[form][0], *given, good[form][1], b""])


def test_there_are_two_formats() -> None:
    assert FORMS == ("csv", "jsonl")


# What is written is read again


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_is_read_again(form: Format) -> None:
    writer = create_writer(form, BookLine)
    head, lined = writer.header, writer.format_lines
    whole = head + lined(MODELS[:7]) + lined([]) + lined(MODELS[7:])
    assert [model for _, model in lines(form, whole)] == MODELS
    assert whole == head + b"".join(lined([model]) for model in MODELS)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_no_models_is_read_as_none(form: Format) -> None:
    writer = create_writer(form, BookLine)
    head, lined = writer.header, writer.format_lines
    assert lines(form, head + lined([])) == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_a_byte_order_mark_and_any_line_ends_are_taken(
    form: Format, bom: bytes, end: bytes, last: bool
) -> None:
    writer = create_writer(form, BookLine)
    head, lined = writer.header, writer.format_lines
    content = bom + (head + lined([book("Emma"), book("Persuasion")])).replace(b"\r\n", b"\n")
    content = content.replace(b"\n", end)
    found = lines(form, content if last else content.removesuffix(end))
    assert [model for _, model in found] == [book("Emma"), book("Persuasion")]


def test_a_byte_order_mark_in_another_line_is_text() -> None:
    assert lines("csv", HEAD + b"\xef\xbb\xbfA,,Emma\n") == [(2, book("Emma", "\ufeffA"))]


@pytest.mark.parametrize("form", FORMS)
def test_empty_lines_are_left_out_and_counted(form: Format) -> None:
    assert [number for number, _ in lines(form, file(form, b"", b"", end=b"\r\n"))] == (
        [2, 5] if form == "csv" else [1, 4]
    )


# The header of CSV


def test_columns_come_in_the_order_of_the_header() -> None:
    content = b'"title",author,dob\nEmma,Jane Austen,1775-12-16\n'
    assert lines("csv", content) == [(2, book("Emma", "Jane Austen", "1775-12-16"))]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", b"\n\n", b"\xef\xbb\xbf", b"\xff\n", b"\x00\n", b"author,title\n", b"author\n",
        b"author,dob,title,isbn\n", b"author,dob,title,title\n", b"author,dob,dob\n",
        b"author,dob,title,\n", b"Author,dob,title\n", b"author;dob;title\n",
        b'"author,dob,title\n', b"author, dob, title\n", b"A,,Emma\n",
        b"author,dob,title" + b" " * MAX_LINE_BYTES, b"author,dob,title\rA,,Emma\r",
        "author,dob,title\n".encode("utf-16"),
    ],
)  # fmt: skip
def test_another_header_is_an_error_that_names_the_columns(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"must name the columns author, dob, title$"):
        lines("csv", content)


# Bad lines

BAD: dict[Format, dict[str, bytes]] = {
    "csv": {
        "too few columns": b"hunter2,Emma",
        "too many columns": b"A,,hunter2,Emma",
        "one column": b"hunter2",
        "blanks": b"  ",
        "unclosed quote": b'A,,"hunter2',
        "unclosed quote in the first column": b'"hunter2,,Emma',
        "text after a quote": b'A,,"Emma"hunter2',
        "carriage return": b"A,,Em\rhunter2",
        "bad UTF-8": b"A,,hunter2\xff",
        "Latin-1": "A,,hunter2 años".encode("latin-1"),
        "encoded surrogate": b"A,,hunter2\xed\xa0\x80",
        "NUL": b"A,,hunter2\x00",
        "no author": b",,hunter2",
        "no title": b"hunter2,,",
        "long title": b"A,," + b"hunter2" * 43,
        "long author": b"hunter2" * 29 + b",,Emma",
        "no date": b"A,hunter2,Emma",
        "date that there is not": b"A,1775-02-30,hunter2",
        "date and time": b"A,1775-12-16T00:00:00,hunter2",
        "number for a date": b"A,1775,hunter2",
        "infinite date": b"A,9999-12-31,hunter2",
        "long line": b"A,," + b"hunter2" * MAX_LINE_BYTES,
        "line of one byte too many": b"A,," + b"x" * (MAX_LINE_BYTES - 3),
    },
    "jsonl": {
        "no JSON": b"hunter2",
        "half an object": b'{"author": "hunter2",',
        "two objects": b'{"author": "A", "title": "hunter2"} {}',
        "list": b'["hunter2"]',
        "string": b'"hunter2"',
        "null": b"null",
        "bad UTF-8": b'{"author": "A", "title": "hunter2\xff"}',
        "key twice": b'{"author": "A", "title": "hunter2", "title": "Emma"}',
        "lone surrogate": rb'{"author": "A", "title": "hunter2\ud800"}',
        "encoded surrogate": b'{"author": "A", "title": "hunter2\xed\xa0\x80"}',
        "NUL": rb'{"author": "A", "title": "hunter2\u0000"}',
        "raw NUL": b'{"author": "A", "title": "hunter2\x00"}',
        "unknown key": b'{"author": "A", "title": "Emma", "isbn": "hunter2"}',
        "no title": b'{"author": "hunter2"}',
        "empty title": b'{"author": "hunter2", "title": ""}',
        "null for a title": b'{"author": "hunter2", "title": null}',
        "long title": b'{"author": "A", "title": "' + b"hunter2" * 43 + b'"}',
        "no date": b'{"author": "A", "dob": "hunter2", "title": "Emma"}',
        "empty date": b'{"author": "A", "dob": "", "title": "hunter2"}',
        "number for a date": b'{"author": "A", "dob": 1775, "title": "hunter2"}',
        "number for a title": b'{"author": "hunter2", "title": 1984}',
        "deep": b"[" * 10_000,
        "long line": b'{"author": "A", "title": "' + b"hunter2" * MAX_LINE_BYTES + b'"}',
        "long integer": b'{"author": "A", "title": ' + b"1" * 10_000 + b"}",
    },
}
KINDS = [(form, kind) for form in FORMS for kind in BAD[form]]


@pytest.mark.parametrize(("form", "kind"), KINDS)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_bad_line_is_named_with_a_reason_and_costs_itself_alone(
    form: Format, kind: str, end: bytes
) -> None:
    (_, before), (number, why), (_, after) = lines(form, file(form, BAD[form][kind], end=end))
    assert isinstance(before, BookLine)
    assert isinstance(after, BookLine)
    assert number == (3 if form == "csv" else 2)
    assert isinstance(why, str)
    assert 5 < len(why) < 200
    assert SECRET not in why


@pytest.mark.parametrize(("form", "kind"), KINDS)
@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_bad_line_may_be_the_last(form: Format, kind: str, end: bytes) -> None:
    whole = file(form, b"").removesuffix(b"\n") + b"\n" + BAD[form][kind] + end
    *_, (_, good), (number, why) = lines(form, whole)
    assert isinstance(good, BookLine)
    assert (number, type(why)) == (whole.removesuffix(b"\n").count(b"\n") + 1, str)


@pytest.mark.parametrize("form", FORMS)
def test_all_bad_lines_at_once_are_each_named(form: Format) -> None:
    between = [line for bad in BAD[form].values() for line in (bad, file("jsonl").splitlines()[0])]
    if form == "csv":
        between[1::2] = [b"A,,between"] * len(BAD[form])
    found = lines(form, file(form, *between))
    bad = [number for number, line in found if isinstance(line, str)]
    first = 3 if form == "csv" else 2
    assert bad == [first + 2 * place for place in range(len(BAD[form]))]
    assert len(found) == 2 * len(BAD[form]) + 2


@pytest.mark.parametrize("form", FORMS)
def test_a_line_of_the_greatest_length_is_read(form: Format) -> None:
    start = b'A,,"' if form == "csv" else b'{"author": "A", "title": "'
    end = b'"\n' if form == "csv" else b'"}\n'
    whole = start + b"x" * (MAX_LINE_BYTES - len(start) - len(end)) + end
    [(_, why)] = lines(form, (HEAD if form == "csv" else b"") + whole)
    assert why == "title: Must have at most 300 characters"
    [(_, why)] = lines(form, (HEAD if form == "csv" else b"") + b" " + whole)
    assert why == LINE_TOO_LONG


def test_every_fault_of_a_line_is_named() -> None:
    [(_, why)] = lines("jsonl", json.dumps({"author": "", "dob": "x", "isbn": 1}).encode())
    assert isinstance(why, str)
    assert [part.split(":")[0] for part in why.split("; ")] == ["author", "dob", "title", "isbn"]


# Records of more than a line, and quotes


def test_a_record_of_many_lines_has_the_number_of_its_first() -> None:
    content = HEAD + b'A,,"a\n\nb"\nA,,b\n"A\n",,\nA,,"c\n"\n'
    assert lines("csv", content) == [
        (2, book("a\n\nb")),
        (5, book("b")),
        (6, "title: Required"),
        (8, book("c\n")),
    ]


def test_a_quote_within_a_value_is_text_wherever_the_line_is() -> None:
    content = b'A,,6" nails\nA,,6" by 4" nails\nA,,6" nails'
    found = [line for _, line in lines("csv", HEAD + content)]
    assert found == [book('6" nails'), book('6" by 4" nails'), book('6" nails')]


@pytest.mark.parametrize("more", [b"", b"A,,b\n", b'A,,"b"\n', b"\n", b"A,," + b"x" * 99 + b"\n"])
def test_a_quote_that_nothing_closes_costs_one_line_of_many(more: bytes) -> None:
    found = lines("csv", HEAD + b'A,,"a\n' + more * 5000)
    assert [number for number, line in found if isinstance(line, str)] == [2]
    assert len(found) == 1 + 5000 * bool(more.strip())


def test_a_line_too_long_ends_the_search_for_a_quote() -> None:
    found = lines("csv", HEAD + b'A,,"a\n' + b"x" * MAX_LINE_BYTES + b'\nA,,b"\nA,,c\n')
    assert [(number, type(line)) for number, line in found] == [
        (2, str), (3, str), (4, BookLine), (5, BookLine),
    ]  # fmt: skip


# Files of any size


class Endless(BytesIO):
    """A file of pieces that are made as they are read; it counts how often."""

    def __init__(self, piece: bytes, count: int, first: bytes = b"") -> None:
        super().__init__(first)
        self._rest, self.calls = repeat(piece, count), 0

    def readline(self, size: Any = -1, /) -> bytes:
        self.calls += 1
        assert 0 < size <= MAX_LINE_BYTES
        if not (found := super().readline(size)):
            found = next(self._rest, b"")
        return found


@pytest.mark.parametrize("form", FORMS)
def test_a_line_of_50_megabytes_is_read_in_pieces_and_left_out(form: Format) -> None:
    many = 50 * 2**20 // MAX_LINE_BYTES
    source = Endless(b"x" * MAX_LINE_BYTES, many, HEAD if form == "csv" else b"")
    [(_, why)] = parse_lines(form, BookLine, source)
    assert why == LINE_TOO_LONG
    assert source.calls <= many + 4


@pytest.mark.parametrize("line", [b'A,,"x\n', b'"\n', b'A,,"x"y\n', b'A,,6" x\n', b'A,"",""x\n'])
def test_a_quote_in_each_of_20_000_lines_is_no_trouble(line: bytes) -> None:
    source = Endless(line, 20_000, HEAD)
    assert sum(1 for _ in parse_lines("csv", BookLine, source)) <= 20_000
    assert source.calls <= 20_010


@pytest.mark.parametrize("form", FORMS)
def test_a_file_is_read_as_its_lines_are_taken(form: Format) -> None:
    line = b"A,,x\n" if form == "csv" else b'{"author": "A", "title": "x"}\n'
    source = Endless(line, 10**9, HEAD if form == "csv" else b"")
    found: Iterator[object] = parse_lines(form, BookLine, source)
    for _ in range(100):
        next(found)
    assert source.calls <= 105
