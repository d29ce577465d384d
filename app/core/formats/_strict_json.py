"""Strict JSON: UTF-8 without duplicate keys, NaN, Infinity, lone surrogates or deep nesting."""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

# The number of levels of arrays and objects. In `{"a": [1]}`, there are two. Code that processes
# parsed JSON may be recursive, because Python's limit is about 1,000 nested calls.
MAX_JSON_DEPTH: Final = 64
# The number of members of an object in a request body.
MAX_JSON_MEMBERS: Final = 100
# The number of values in a request body, at all levels. An array or object counts twice, because it
# has an opening bracket. A batch of 1,000 items with 18 fields each has fewer values.
MAX_JSON_VALUES: Final = 20_000
# The number of digits of an integer in a request body, including its sign. No column holds more.
MAX_JSON_INTEGER_LENGTH: Final = 300
_NESTED_TOO_DEEPLY: Final = f"has more than {MAX_JSON_DEPTH} levels of nesting"
# The text up to the next separator of values, which is a comma or an opening bracket. At most two
# strings precede it: a key and its value. Possessive quantifiers (`*+`) never backtrack.
_UP_TO_SEPARATOR: Final = re.compile(
    r"""[^",\[{]*+ (?: "[^"\\]*+(?:\\.[^"\\]*+)*+" [^",\[{]*+ ){0,2}+ [,\[{]""",
    re.DOTALL | re.VERBOSE,
)


class JsonTooLarge(ValueError):
    """JSON exceeds a limit of its structure.

    The message is the end of a sentence, for example "has more than 20,000 values".
    """


def parse_json(body: bytes) -> Any:
    """Parse a request body as strict JSON, in bounded time.

    Raises `JsonTooLarge` if it has too many levels, values, members in an object or digits in an
    integer. Raises `ValueError` for invalid JSON, and for four things that Python would accept:
    bytes in UTF-16 or UTF-32, the repeated key in `{"a": 1, "a": 2}`, constants such as `NaN`, and
    half of a surrogate pair such as `"\\ud800"`.
    """
    text = body.decode()
    # The time of everything that follows depends on the number of values: parsing them, searching
    # them, and reporting an error for each. A short text cannot have too many.
    if len(text) > MAX_JSON_VALUES:
        _check_value_count(text)
    return _decode(text, _BODY_DECODER)


def parse_json_text(text: str) -> Any:
    """Parse a text of an operator, such as a line of a file, as strict JSON.

    Raises the errors that `parse_json` describes, but limits only the number of levels.
    """
    return _decode(text, _TEXT_DECODER)


def _check_value_count(text: str) -> None:
    """Raise `JsonTooLarge` if a text has more than `MAX_JSON_VALUES` values.

    Separators inside of strings do not count, so a text with many of them has to be searched. The
    search ends at the limit, and where the text is not JSON, because the parser will not get any
    further.
    """
    separators = text.count(",") + text.count("[") + text.count("{")
    if separators <= MAX_JSON_VALUES:
        return
    position = 0
    for _ in range(MAX_JSON_VALUES):
        # A search would try every position of a string without an end. `match` tries only one.
        match = _UP_TO_SEPARATOR.match(text, position)
        if match is None:
            return
        position = match.end()
    raise JsonTooLarge(f"has more than {MAX_JSON_VALUES:,} values")


def _decode(text: str, decoder: json.JSONDecoder) -> Any:
    """Parse a text as strict JSON."""
    try:
        value = decoder.decode(text)
    except RecursionError:
        raise JsonTooLarge(_NESTED_TOO_DEEPLY) from None

    # JSON with few opening brackets cannot be nested deeply, so most bodies are not searched.
    opening_brackets = text.count("[") + text.count("{")
    if opening_brackets > MAX_JSON_DEPTH:
        _check_depth(value)
    # An escape may stand for half of a surrogate pair. Encoding that raises `ValueError`.
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _build_small_object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Do the same as `_build_object`, but raise `JsonTooLarge` if there are too many members."""
    if len(members) > MAX_JSON_MEMBERS:
        raise JsonTooLarge(f"has an object with more than {MAX_JSON_MEMBERS} members")
    return _build_object(members)


def _build_object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of a JSON object as a dict. Raises `ValueError` if a key is repeated."""
    json_object = dict(members)
    if len(json_object) < len(members):
        raise ValueError("a JSON object repeats a key")
    return json_object


def _reject_constant(constant: str) -> Any:
    """Raise an error for `NaN` and `Infinity`, which Python accepts although JSON does not."""
    raise ValueError(f"{constant} is not valid JSON")


def _parse_short_integer(digits: str) -> int:
    """Return an integer. Raises `JsonTooLarge` for many digits, whose conversion takes long."""
    if len(digits) > MAX_JSON_INTEGER_LENGTH:
        raise JsonTooLarge(f"has an integer with more than {MAX_JSON_INTEGER_LENGTH} digits")
    return int(digits)


def _check_depth(value: Any) -> None:
    """Raise `JsonTooLarge` if a value has more than `MAX_JSON_DEPTH` levels."""
    # Search level by level instead of recursively, so that deep values do not exhaust the stack.
    containers = [value]
    for _ in range(MAX_JSON_DEPTH):
        containers = [
            child
            for container in containers
            for child in _get_children(container)
            if isinstance(child, dict | list)
        ]
        if not containers:
            return
    raise JsonTooLarge(_NESTED_TOO_DEEPLY)


def _get_children(value: Any) -> Iterable[Any]:
    """Return the items of an array or the values of an object. Other values have no children."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list):
        return value
    return ()


# Created once, because creating a decoder takes longer than parsing a small body.
_TEXT_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_build_object, parse_constant=_reject_constant
)
_BODY_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_build_small_object,
    parse_int=_parse_short_integer,
    parse_constant=_reject_constant,
)
