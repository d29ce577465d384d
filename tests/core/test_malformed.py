"""Bodies that are not strict JSON. Every operation that takes JSON rejects them with 400."""

import json
import time

import pytest
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from httpx import AsyncClient

from app.core.field_errors import MAX_FIELD_ERRORS
from app.core.http import _error_handlers as error_handlers
from tests.support.factories import make_document
from tests.support.json_bodies import (
    MAX_BATCH_SIZE,
    MAX_JSON_SIZE,
    json_operations,
    send_body,
    send_body_to_every_operation,
)
from tests.support.problems import check_problem, field_error_locations

UTF_8 = b'{"name": "Ursula"}'
UTF_16, UTF_32 = '{"name": "Ursula"}'.encode("utf-16-le"), '{"name": "Ursula"}'.encode("utf-32-le")
ENCODINGS = {
    "invalid UTF-8": b'{"name": "Ursula\xff"}',
    "a lone continuation byte": b'{"name": "Ursula\x80"}',
    "a character that is cut off": b'{"name": "Ursula\xe2\x82"}',
    "a character that is cut off by the end": b'{"name": "Ursula\xf0\x9f\x98',
    "a slash in two bytes": b'{"name": "Ursula\xc0\xaf"}',
    "a slash in three bytes": b'{"name": "Ursula\xe0\x80\xaf"}',
    "NUL in two bytes": b'{"name": "Ursula\xc0\x80"}',
    "a quote in two bytes": b'{"name": "Ursula\xc0\xa2}',
    "a surrogate in UTF-8": b'{"name": "Ursula\xed\xa0\x80"}',
    "a pair of surrogates in UTF-8": b'{"name": "Ursula\xed\xa0\xbd\xed\xb8\x80"}',
    "a character after the last one": b'{"name": "Ursula\xf4\x90\x80\x80"}',
    "five bytes": b'{"name": "Ursula\xf8\x88\x80\x80\x80"}',
    "six bytes": b'{"name": "Ursula\xfc\x84\x80\x80\x80\x80"}',
    "Latin-1": '{"name": "Ursula García"}'.encode("latin-1"),
    "UTF-16": b"\xff\xfe" + UTF_16,
    "UTF-16, the other end first": '\ufeff{"name": "Ursula"}'.encode("utf-16-be"),
    "UTF-16 without a mark": UTF_16,
    "UTF-16 without a mark, the other end first": '{"name": "Ursula"}'.encode("utf-16-be"),
    "UTF-32": b"\xff\xfe\0\0" + UTF_32,
    "UTF-32 without a mark": UTF_32,
    "UTF-32 without a mark, the other end first": '{"name": "Ursula"}'.encode("utf-32-be"),
    "UTF-7": b'+AHsAIg-name+ACI: "Ursula"}',
    "a byte order mark": b"\xef\xbb\xbf" + UTF_8,
    "two byte order marks": b"\xef\xbb\xbf" * 2 + UTF_8,
    "a byte order mark inside": b'{"name":\xef\xbb\xbf"Ursula"}',
    "nothing but a byte order mark": b"\xef\xbb\xbf",
    "EBCDIC": '{"name": "Ursula"}'.encode("cp500"),
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xabV",
}
SYNTAX = {
    "blank": b" \n",
    "only a tab": b"\t",
    "a form feed for a blank": b"\f" + UTF_8,
    "a no-break space for a blank": b"\xc2\xa0" + UTF_8,
    "NUL before it": b"\0" + UTF_8,
    "NUL in the middle": b'{"name"\0: "Ursula"}',
    "NUL after it": UTF_8 + b"\0",
    "two documents": UTF_8 * 2,
    "two lines": UTF_8 + b"\n" + UTF_8,
    "a record separator": b"\x1e" + UTF_8,
    "a closing brace too many": UTF_8 + b"}",
    "an opening brace too many": b"{" + UTF_8,
    "brackets that cross": b'{"name": ["Ursula"}]',
    "a trailing comma": b'{"name": "Ursula",}',
    "a leading comma": b'{,"name": "Ursula"}',
    "a comma too many": b'{"name": "Ursula",,"dob": null}',
    "a comma too few": b'{"name": "Ursula" "dob": null}',
    "a trailing comma in an array": b"[1,]",
    "a hole in an array": b"[1,,2]",
    "no colon": b'{"name" "Ursula"}',
    "two colons": b'{"name":: "Ursula"}',
    "an equals sign": b'{"name" = "Ursula"}',
    "no value": b'{"name":}',
    "no key": b'{: "Ursula"}',
    "a number for a key": b'{1: "Ursula"}',
    "null for a key": b'{null: "Ursula"}',
    "a bare key": b'{name: "Ursula"}',
    "single quotes": b"{'name': 'Ursula'}",
    "typographic quotes": "{“name”: “Ursula”}".encode(),
    "backquotes": b"{`name`: `Ursula`}",
    "a comment": UTF_8 + b" // who else",
    "a comment inside": b'{"name": /* who? */ "Ursula"}',
    "a shell's comment": b"# who?\n" + UTF_8,
    "YAML": b"name: Ursula",
    "XML": b"<name>Ursula</name>",
    "a form": b"name=Ursula",
    "a part of a form": b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nUrsula\r\n--x',
    "a guard against being a script": b")]}',\n" + UTF_8,
    "a callback": b"f(" + UTF_8 + b")",
    "Python's words": b'{"name": None}',
    "a capital word": b'{"name": NULL}',
    "undefined": b'{"name": undefined}',
    "half a word": b'{"name": tru',
    "a letter too many": b'{"name": nullx}',
}
STRINGS = {
    "a string without an end": b'{"name": "Ursula',
    "a string that ends in an escape": b'{"name": "Ursula\\"}',
    "a raw tab": b'{"name": "Ursula\tK."}',
    "a raw newline": b'{"name": "Ursula\nK."}',
    "a raw NUL": b'{"name": "Ursula\0"}',
    "a raw escape character": b'{"name": "Ursula\x1b[2J"}',
    "a raw control character in a key": b'{"na\x01me": "Ursula"}',
    "an escape for hexadecimal": b'{"name": "Ursula\\x41"}',
    "an escape for octal": b'{"name": "Ursula\\101"}',
    "an escape for NUL": b'{"name": "Ursula\\0"}',
    "an escaped quote that needs none": b'{"name": "Ursula\\\'"}',
    "an escaped newline": b'{"name": "Ursula\\\n"}',
    "a capital escape": b'{"name": "\\U00000041"}',
    "an escape in braces": b'{"name": "\\u{41}"}',
    "three digits": b'{"name": "\\u004"}',
    "no digits": b'{"name": "\\u"}',
    "a sign before the digits": b'{"name": "\\u+041"}',
    "a blank before the digits": b'{"name": "\\u 041"}',
    "an underscore between the digits": b'{"name": "\\u0_41"}',
    "a lone high surrogate": b'{"name": "Ursula\\ud83d"}',
    "a lone low surrogate": b'{"name": "Ursula\\ude00"}',
    "surrogates the wrong way round": b'{"name": "Ursula\\ude00\\ud83d"}',
    "two high surrogates": b'{"name": "Ursula\\ud83d\\ud83d"}',
    "a high surrogate and a letter": b'{"name": "Ursula\\ud83dx"}',
    "a surrogate and half an escape": b'{"name": "Ursula\\ud83d\\u"}',
    "a surrogate of either kind": b'{"name": "Ursula\\ud83d\xed\xb8\x80"}',
    "a lone surrogate in a key": b'{"\\ud83d": "Ursula"}',
    "a lone surrogate in an array": b'{"name": ["\\uDFFF"]}',
    "a lone surrogate in a password": b'{"password": "correct horse \\ud83d"}',
}
NUMBERS = {
    name: b'{"name": ' + number + b"}"
    for name, number in {
        "NaN": b"NaN",
        "-NaN": b"-NaN",
        "nan": b"nan",
        "Infinity": b"Infinity",
        "-Infinity": b"-Infinity",
        "inf": b"inf",
        "a leading zero": b"01",
        "a leading zero after the sign": b"-01",
        "two zeros": b"00",
        "a plus": b"+1",
        "two signs": b"--1",
        "only a sign": b"-",
        "no digit before the point": b".5",
        "no digit after the point": b"1.",
        "two points": b"1.2.3",
        "no exponent": b"1e",
        "an exponent with only a sign": b"1e+",
        "an exponent with a point": b"1e1.5",
        "hexadecimal": b"0x1F",
        "octal": b"0o17",
        "an underscore": b"1_000",
        "a comma for the point": b"1,5",
        "a suffix": b"1L",
        "another script's digits": "٣".encode(),
        "full width": "\uff11".encode(),
        "a minus that is none": "\u22121".encode(),
    }.items()
} | {"a bare NaN": b"NaN", "a bare minus": b"-"}
KEYS = {
    "a duplicate key": b'{"name": "Ursula", "name": "Ursula"}',
    "a key that occurs three times": b'{"name": 1, "name": 2, "name": 3}',
    "a duplicate key, escaped once": b'{"name": "Ursula", "n\\u0061me": "Octavia"}',
    "a duplicate key, escaped twice": b'{"n\\u0061me": "Ursula", "\\u006eame": "Octavia"}',
    "a duplicate escape": b'{"a\\/b": 1, "a/b": 2}',
    "a duplicate astral key": '{"😀": 1, "\\ud83d\\ude00": 2}'.encode(),
    "a duplicate empty key": b'{"": 1, "": 2}',
    "a nested duplicate key": b'{"name": [{"a": 1, "a": 2}]}',
    "a duplicate key far down": b'{"a":' * 50 + b'{"b": 1, "b": 1}' + b"}" * 50,
    "a duplicate key among many": b"{%s}" % b",".join(b'"%d": 1' % (n % 4999) for n in range(5000)),
    "a duplicate key of a prototype": b'{"__proto__": {}, "__proto__": {}}',
}
LEVELS = {
    "10,000 levels of arrays": b"[" * 10_000 + b"]" * 10_000,
    "10,000 levels of objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "10,000 levels of both": b'[{"a":' * 5_000 + b"1" + b"}]" * 5_000,
    "10,000 levels that never close": b"[" * 10_000,
    "10,000 levels in a field": b'{"name": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
}
MALFORMED = ENCODINGS | SYNTAX | STRINGS | NUMBERS | KEYS | LEVELS


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
async def test_body_that_is_not_strict_json_returns_400(client: AsyncClient, body: bytes) -> None:
    for response in await send_body_to_every_operation(client, body):
        check_problem(response, 400, "malformed-request")
        assert b"Ursula" not in response.content


async def test_empty_body_returns_400_if_the_operation_requires_a_body(client: AsyncClient) -> None:
    for method, path in await json_operations(client, requires_body=True):
        check_problem(await send_body(client, method, path, b""), 400, "malformed-request")


@pytest.mark.parametrize("length", range(1, len(UTF_8)))
async def test_truncated_json_returns_400(client: AsyncClient, length: int) -> None:
    for response in await send_body_to_every_operation(client, UTF_8[:length]):
        check_problem(response, 400, "malformed-request")


@pytest.mark.parametrize(
    "body", [b"null", b"true", b"0", b"-0", b"-0.0", b'"Ursula"', b"[]", b"[%s]" % UTF_8, b"1e400"]
)
async def test_body_that_is_not_an_object_returns_422(client: AsyncClient, body: bytes) -> None:
    for response in await send_body_to_every_operation(client, body):
        assert field_error_locations(response) == [{"pointer": ""}]
        assert b"Ursula" not in response.content


# Bodies of the maximum size, each of a kind that some JSON parsers read slowly.
SLOW_BODIES = {
    "opening brackets": b"[" * MAX_JSON_SIZE,
    "opening braces": b'{"":' * (MAX_JSON_SIZE // 4),
    "quotes": b'"' * MAX_JSON_SIZE,
    "backslashes": b'{"name": "' + b"\\" * (MAX_JSON_SIZE - 10),
    "escapes": (b'{"name": "' + b"\\u0061" * (MAX_JSON_SIZE // 6))[: MAX_JSON_SIZE - 2] + b'"}',
    "half an astral plane": (b'{"name": "' + b"\\ud83d\\ude00" * (MAX_JSON_SIZE // 13)) + b'"}',
    "blanks": b" " * MAX_JSON_SIZE,
    "newlines": b"\n" * MAX_JSON_SIZE,
    "digits": b"9" * MAX_JSON_SIZE,
    "digits after the point": b"0." + b"9" * (MAX_JSON_SIZE - 2),
    "digits in an exponent": b"1e" + b"9" * (MAX_JSON_SIZE - 2),
    "small numbers": b"[" + b"1," * (MAX_JSON_SIZE // 2 - 2) + b"1]",
    "empty arrays": b"[" + b"[]," * (MAX_JSON_SIZE // 3 - 1) + b"]",
    "empty objects": b"[" + b"{}," * (MAX_JSON_SIZE // 3 - 1) + b"]",
    "keys": b"{" + b",".join(b'"%d":1' % n for n in range(5_000)) + b"}",
    "a long key": b'{"' + b"k" * (MAX_JSON_SIZE - 6) + b'":1}',
    "a long name": b'{"name":"' + b"n" * (MAX_JSON_SIZE - 11) + b'"}',
    "items": b'{"items":[' + b"1," * (MAX_JSON_SIZE // 2 - 10) + b"1]}",
    "items of a book": b'{"items":[' + b"{}," * (MAX_JSON_SIZE // 3 - 10) + b"{}]}",
}


@pytest.mark.parametrize("body", SLOW_BODIES.values(), ids=SLOW_BODIES.keys())
async def test_slow_to_parse_body_of_maximum_size_is_rejected_quickly(
    client: AsyncClient, body: bytes
) -> None:
    assert len(body) <= MAX_JSON_SIZE
    start = time.process_time()
    responses = await send_body_to_every_operation(client, body)
    assert time.process_time() - start < 0.8 * len(responses)  # seconds of CPU time
    for response in responses:
        kinds = {400: "malformed-request", 422: "invalid-request"}
        check_problem(response, response.status_code, kinds[response.status_code])
        assert len(response.content) < 64 * 1024


@pytest.mark.parametrize("item", [b"1", b"{}", b'{"a":1}', b'"\\u0061"'])
async def test_slow_to_parse_batch_of_maximum_size_is_rejected_in_time(
    client: AsyncClient, item: bytes
) -> None:
    items = b",".join([item] * ((MAX_BATCH_SIZE - 12) // (len(item) + 1)))
    start = time.process_time()
    response = await send_body(client, "POST", "/books/batch", b'{"items":[' + items + b"]}")
    assert time.process_time() - start < 0.8  # seconds of CPU time
    check_problem(response, 400, "malformed-request")
    assert len(response.content) < 64 * 1024


async def test_only_reported_field_errors_are_converted() -> None:
    # A batch can contain thousands of errors. One more than the response lists is converted, so
    # that the response says that there are more.
    validation_error = {
        "loc": ("body", "x"),
        "msg": "Extra inputs are not permitted",
        "type": "extra_forbidden",
    }
    validation_errors = [validation_error] * (MAX_FIELD_ERRORS + 1)
    error = RequestValidationError([*validation_errors, "not converted"])
    response = await error_handlers._handle_validation_error(
        Request({"type": "http", "method": "POST", "path": "/"}), error
    )
    assert len(json.loads(bytes(response.body))["errors"]) == MAX_FIELD_ERRORS


INTEGERS = [b"9223372036854775808", b"-9223372036854775809", b"1" * 4300, b"1" * 5000, b"-1", b"0"]
FLOATS = [b"1e400", b"-1e400", b"1e-400", b"1E+19", b"1.5", b"-0", b"-0.0", b"1e999999999"]


@pytest.mark.parametrize("number", INTEGERS + FLOATS)
async def test_number_out_of_bounds_is_rejected(client: AsyncClient, number: bytes) -> None:
    path = f"/documents/{(await make_document(client))['id']}/uploads"
    head = b'{"filename": "a.pdf", "content_type": "application/pdf", "size": '
    response = await send_body(client, "POST", path, head + number + b"}")
    # The parser rejects numbers with thousands of digits.
    if response.status_code != 400:
        assert field_error_locations(response) == [{"pointer": "/size"}]
