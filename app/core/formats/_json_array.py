"""Read the items of a JSON array one by one, so that a large file needs little memory."""

import json
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from app.core.formats._text_files import TextFile
from app.core.formats._text_lines import MAX_LINE_LENGTH

_CHUNK_LENGTH: Final = 64 * 1024  # characters
_WHITESPACE: Final = re.compile(r"[ \t\n]*")
# Finds the end of an item. Numbers stay texts, because Python refuses to parse very long ones.
_SCANNER: Final = json.JSONDecoder(parse_int=str, parse_float=str)
_NOT_AN_ARRAY: Final = (
    "a JSON file has to contain an array of objects, for example"
    ' [{"title": "Emma"}, {"title": "Persuasion"}].'
)


class JsonItem(NamedTuple):
    """The JSON text of an item of an array, and the number of the line on which it begins."""

    line_number: int
    text: str


def read_items(file: TextFile) -> Iterator[JsonItem]:
    """Yield the items of a JSON array. At most about `MAX_LINE_LENGTH` characters are in memory.

    The line ends of the text have to be translated to LF.

    Raises `ValueError` if the file contains something else, or if its JSON is wrong. After an error
    in the syntax of an item it is not known where the next item begins.
    """
    buffer = _Buffer(file)
    first_character = buffer.next_character()
    if first_character != "[":
        raise ValueError(_describe_other_value(first_character))
    buffer.skip(1)
    if buffer.next_character() == "]":
        _require_end(buffer)
        return

    item_number = 1
    separator = ","
    while separator == ",":
        yield buffer.read_item(item_number)
        separator = buffer.next_character()
        if separator not in {",", "]"}:
            raise ValueError(
                f"line {buffer.line_number} has no comma or closing bracket after item"
                f" {item_number}: {_describe_rest(separator)}"
            )
        if separator == ",":
            buffer.skip(1)
            item_number += 1
    _require_end(buffer)


def _describe_other_value(first_character: str) -> str:
    """Return why a file that begins with this character is not an array of objects."""
    if first_character == "{":
        return (
            f"{_NOT_AN_ARRAY} This file contains an object instead. If every line has one object,"
            " pass --format jsonl; otherwise extract the array, for example with jq '.items'"
        )
    if not first_character:
        return f"{_NOT_AN_ARRAY} This file is empty"
    return f"{_NOT_AN_ARRAY} This file does not begin with [. If it is CSV, pass --format csv"


def _describe_rest(next_character: str) -> str:
    """Return what is wrong after an item. The next character is empty at the end of the file."""
    if next_character:
        return "correct the JSON, for example with jq"
    return "the file ends within the array, perhaps because a download was interrupted"


def _require_end(buffer: "_Buffer") -> None:
    """Raise `ValueError` if text follows the bracket that closes the array."""
    buffer.skip(1)
    if buffer.next_character():
        raise ValueError(f"line {buffer.line_number} has text after the end of the JSON array")


class _Buffer:
    """The next part of a text. `line_number` is the number of the line on which it begins."""

    def __init__(self, file: TextFile) -> None:
        self._file = file.text
        self._text = ""
        self._offset = 0
        self.line_number = 1

    def next_character(self) -> str:
        """Skip whitespace. Return the next character without skipping it, or "" at the end."""
        self._skip_whitespace()
        while self._offset == len(self._text) and self._read_more():
            self._skip_whitespace()
        return self._text[self._offset : self._offset + 1]

    def skip(self, length: int) -> None:
        """Skip characters that are in the buffer, and count their lines."""
        end = self._offset + length
        self.line_number += self._text.count("\n", self._offset, end)
        self._offset = end

    def read_item(self, item_number: int) -> JsonItem:
        """Return the next item and skip it. Raises `ValueError` if its JSON is wrong."""
        self.next_character()
        item_line = self.line_number
        end = self._find_end_of_item(item_number)
        item = JsonItem(item_line, self._text[self._offset : end])
        self.skip(end - self._offset)
        return item

    def _find_end_of_item(self, item_number: int) -> int:
        """Return the offset of the end of the item that begins at the current offset."""
        while True:
            try:
                _, end = _SCANNER.raw_decode(self._text, self._offset)
            except json.JSONDecodeError as error:
                # The item may be correct, but continue in the part that has not been read.
                if not self._read_more():
                    raise ValueError(self._describe_error(item_number, error)) from None
            except RecursionError:
                raise ValueError(
                    f"line {self.line_number}: item {item_number} is nested too deeply"
                ) from None
            else:
                # A number at the end of the buffer may have more digits.
                if end < len(self._text) or not self._read_more():
                    return end

    def _skip_whitespace(self) -> None:
        whitespace = _WHITESPACE.match(self._text, self._offset)
        if whitespace is not None:
            self.skip(whitespace.end() - self._offset)

    def _read_more(self) -> bool:
        """Append the next part of the file to the buffer.

        Returns False at the end of the file, or if the buffer has an item that is too long.
        """
        if len(self._text) - self._offset >= MAX_LINE_LENGTH:
            return False
        chunk = self._file.read(_CHUNK_LENGTH)
        if not chunk:
            return False
        self._text = self._text[self._offset :] + chunk
        self._offset = 0
        return True

    def _describe_error(self, item_number: int, error: json.JSONDecodeError) -> str:
        """Return on which line an item is wrong, and why, without quoting the file."""
        line_number = self.line_number + self._text.count("\n", self._offset, error.pos)
        # Python's messages may end with the word "at", which an offset would follow.
        reason = error.msg.removesuffix(" at").removesuffix(" starting")
        length = len(self._text) - self._offset
        if length >= MAX_LINE_LENGTH:
            reason += f", or the item is longer than {MAX_LINE_LENGTH} characters"
        elif error.pos >= len(self._text.rstrip()):
            reason += ", because the file ends here"
        return f"line {line_number}: item {item_number} is not valid JSON ({reason})"
