"""JSON files with one array of objects: read item by item, in little memory, with exact errors."""

import json
import tracemalloc
from collections.abc import Iterator
from io import BytesIO

import pytest

from app.books.schemas import BookLine
from app.core.formats import (
    MAX_JSON_DEPTH,
    MAX_LINE_LENGTH,
    InvalidLine,
    ParsedLine,
    ReadOptions,
    parse_lines,
)

ILIAD = '{"author": "Homer", "title": "Iliad"}'


def parse_array(
    content: str | bytes, options: ReadOptions | None = None
) -> Iterator[ParsedLine[BookLine] | InvalidLine]:
    """Parse a JSON file."""
    if isinstance(content, str):
        content = content.encode()
    return parse_lines("json", BookLine, BytesIO(content), options or ReadOptions())


def read_titles(content: str | bytes, options: ReadOptions | None = None) -> list[tuple[int, str]]:
    """Return the line number and the title, or the error message, of each item."""
    titles = []
    for line in parse_array(content, options):
        text = line.error_message if isinstance(line, InvalidLine) else line.item.title
        titles.append((line.line_number, text))
    return titles


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_items_have_the_numbers_of_their_first_lines(line_end: str) -> None:
    lines = [
        "",
        "[",
        ILIAD + ", {",
        '"author": "Homer",',
        '"title": "Odyssey"}',
        ",",
        ILIAD,
        "]",
        "",
    ]
    assert read_titles(line_end.join(lines)) == [(3, "Iliad"), (3, "Odyssey"), (7, "Iliad")]


@pytest.mark.parametrize("content", ["[]", " [ \n ] ", "\ufeff[]"])
def test_empty_array_has_no_items(content: str) -> None:
    assert read_titles(content) == []


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ('{"author": "Homer", "title": 7}', "title: Must be a string"),
        ('{"author": "Homer", "title": null}', "title: Must be a string"),
        ('{"author": {"name": "Homer"}, "title": "x"}', "author: Must be a string"),
        ('{"author": ["Homer"], "title": "x"}', "author: Must be a string"),
        ('{"author": "Homer"}', "title: Required"),
        ('["Homer", "Iliad"]', "Must be a JSON object"),
        ("[]", "Must be a JSON object"),
        ('"Iliad"', "Must be a JSON object"),
        ("null", "Must be a JSON object"),
        ("1" * 9000, "is not valid JSON or repeats a key"),
        ("NaN", "is not valid JSON or repeats a key"),
        ('{"title": "x", "title": "x"}', "is not valid JSON or repeats a key"),
        (r'{"title": "\ud800"}', "is not valid JSON or repeats a key"),
        (
            "[" * (MAX_JSON_DEPTH + 1) + "]" * (MAX_JSON_DEPTH + 1),
            f"has more than {MAX_JSON_DEPTH} levels of nesting",
        ),
    ],
)
def test_invalid_item_is_reported_with_its_number_and_the_others_are_read(
    item: str, message: str
) -> None:
    titles = read_titles(f"[\n{ILIAD},\n{item},\n{ILIAD}]")
    assert titles == [(2, "Iliad"), (3, f"item 2: {message}"), (4, "Iliad")]


def test_keys_of_other_programs_are_mapped_and_ignored() -> None:
    content = '[{"Authors": "Homer", "original_title": "Iliad", "isbn": [1, {"a": 2}]}]'
    options = ReadOptions({"author": "authors", "title": "original_title"})
    assert read_titles(content, options) == [(1, "Iliad")]


def test_nested_value_is_read_by_its_path() -> None:
    content = '[{"title": "Iliad", "author": {"name": "Homer", "dob": null}, "id": 7}]'
    options = ReadOptions({"author": "author.name", "dob": "author.dob"})
    assert read_titles(content, options) == [(1, "Iliad")]


@pytest.mark.parametrize("author", ['"Homer"', "{}", '{"first name": "Homer"}', "null", "[]"])
def test_missing_path_is_reported_with_the_field(author: str) -> None:
    content = f'[{{"title": "Iliad", "author": {author}}}]'
    message = "item 1: author (column author.name): Required"
    assert read_titles(content, ReadOptions({"author": "author.name"})) == [(1, message)]


def test_unknown_keys_are_reported_with_the_option_that_helps() -> None:
    [(_, unknown)] = read_titles('[{"author": "A", "title": "B", "isbn": 1, "year": 2}]')
    assert unknown.startswith("item 1: has unknown columns: isbn, year. ")
    assert unknown.endswith("Pass --ignore-other-columns to ignore the others")
    [(_, missing)] = read_titles('[{"authors": "A", "title": "B"}]')
    assert missing.endswith("for example: --column author=authors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"items": []}',
            "This file contains an object instead. If every line has one object, pass",
        ),
        (ILIAD + "\n" + ILIAD, "If every line has one object, pass --format jsonl"),
        ("author,title\n", "This file does not begin with [. If it is CSV, pass --format csv"),
        ('"Iliad"', "a JSON file has to contain an array of objects"),
        ("", "This file is empty"),
        (" \n ", "This file is empty"),
        ("[\n", "line 2: item 1 is not valid JSON (Expecting value, because the file ends here)"),
        (f"[{ILIAD},\n\n", "line 3: item 2 is not valid JSON (Expecting value, because the file"),
        (f"[\n{ILIAD},\n]", "line 3: item 2 is not valid JSON (Expecting value)"),
        (f"[\n{ILIAD}\n", "line 3 has no comma or closing bracket after item 1: the file ends"),
        (f"[\n{ILIAD}\n\n{ILIAD}]", "line 4 has no comma or closing bracket after item 1: correct"),
        (f"[{ILIAD}]\n\n{ILIAD}", "line 3 has text after the end of the JSON array"),
        (f'[{ILIAD},\n{{"a":\n1 "b"', "line 3: item 2 is not valid JSON (Expecting ',' delimiter)"),
        (f'[{ILIAD},\n{{"a": "b', "line 2: item 2 is not valid JSON (Unterminated string)"),
        ("[{'a': 1}]", "line 1: item 1 is not valid JSON (Expecting property name enclosed in"),
        ('["a\nb"]', "line 1: item 1 is not valid JSON (Invalid control character)"),
        ("[" * 100_000, "line 1: item 1 is nested too deeply"),
    ],
)
def test_file_without_a_correct_array_raises_an_error_that_says_why(
    content: str, message: str
) -> None:
    with pytest.raises(ValueError, match=r"^(a JSON file|line)") as error:
        list(parse_array(content))
    assert message in str(error.value)


def test_item_that_is_too_long_raises_an_error_without_reading_all_of_it() -> None:
    content = BytesIO(b'["' + b"x" * 20 * MAX_LINE_LENGTH + b'"]')
    with pytest.raises(ValueError, match=r"or the item is longer than 131072 characters"):
        list(parse_lines("json", BookLine, content))
    assert content.tell() < 3 * MAX_LINE_LENGTH


def test_number_that_is_too_long_raises_an_error_without_reading_all_of_it() -> None:
    content = BytesIO(b"[" + b"1" * 20 * MAX_LINE_LENGTH + b"]")
    with pytest.raises(ValueError, match=r"^line 1 has no comma or closing bracket after item 1"):
        list(parse_lines("json", BookLine, content))
    assert content.tell() < 3 * MAX_LINE_LENGTH


@pytest.mark.parametrize("size", [65_530, 65_536, 100_000])
@pytest.mark.parametrize("separator", [",", ",\n", " , \n "])
def test_items_are_read_wherever_the_parts_of_a_file_end(size: int, separator: str) -> None:
    # The first item moves the later ones, so that each of them once crosses the end of a part.
    first = json.dumps({"author": "A", "title": "x" * 100, "padding": "y" * (size - 200)})
    items = [json.dumps({"author": "A", "title": f"Title {number}"}) for number in range(50)]
    content = "[" + separator.join([first, *items, "12", *items]) + "]"
    titles = [text for _, text in read_titles(content, ReadOptions(ignore_other_columns=True))]
    expected = [f"Title {number}" for number in range(50)]
    assert titles == ["x" * 100, *expected, "item 52: Must be a JSON object", *expected]


class GeneratedArray(BytesIO):
    """A JSON array of many items, which is never in memory as a whole."""

    def __init__(self, item_count: int) -> None:
        super().__init__()
        self._pieces = self._generate(item_count)

    def _generate(self, item_count: int) -> Iterator[bytes]:
        yield b"["
        for number in range(item_count):
            separator = b"," if number else b""
            yield separator + b'{"author": "A", "title": "%d"}' % number
        yield b"]"

    def read1(self, _size: int | None = -1, /) -> bytes:
        return next(self._pieces, b"")


def test_long_array_on_one_line_is_read_in_constant_memory() -> None:
    item_count = 20_000
    tracemalloc.start()
    try:
        lines = parse_lines("json", BookLine, GeneratedArray(item_count))
        assert sum(isinstance(line, ParsedLine) for line in lines) == item_count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
