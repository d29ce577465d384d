"""JSON with many levels of arrays and objects: bodies, idempotency keys and files."""

import json
from io import BytesIO

import pytest
from httpx import AsyncClient, Response
from pydantic import BaseModel

from app.core.formats import MAX_JSON_DEPTH, InvalidLine, parse_json, parse_lines
from tests.support.json_bodies import json_operations, send_body
from tests.support.problems import check_problem, field_error_locations

# A pair of texts opens and closes one level.
ARRAY = ("[", "]")
OBJECT = ('{"a":', "}")
every_kind = pytest.mark.parametrize("kind", [ARRAY, OBJECT], ids=["arrays", "objects"])


class Name(BaseModel):
    """A model with one field, to which the lines of a file are parsed."""

    name: str


def nested_body(depth: int, kind: tuple[str, str], content: str = "1") -> bytes:
    """Return an object with the field `name` that has this number of levels, at least one."""
    opening, closing = kind
    inner_levels = depth - 1
    return f'{{"name":{opening * inner_levels}{content}{closing * inner_levels}}}'.encode()


async def send_to_every_operation_with_key(client: AsyncClient, body: bytes) -> list[Response]:
    """Send a body to each operation that takes JSON, with another Idempotency-Key each time."""
    return [
        await send_body(client, method, path, body, Idempotency_Key=f"key-{number}")
        for number, (method, path) in enumerate(await json_operations(client))
    ]


@every_kind
@pytest.mark.parametrize("depth", [MAX_JSON_DEPTH + 1, 100, 900, 950, 990, 1000, 10_000])
async def test_too_deep_body_with_idempotency_key_returns_400(
    client: AsyncClient, depth: int, kind: tuple[str, str]
) -> None:
    for response in await send_to_every_operation_with_key(client, nested_body(depth, kind)):
        problem = check_problem(response, 400, "malformed-request")
        assert f"{MAX_JSON_DEPTH} levels" in problem["detail"]


@every_kind
async def test_too_deep_body_without_idempotency_key_returns_400(
    client: AsyncClient, kind: tuple[str, str]
) -> None:
    body = nested_body(MAX_JSON_DEPTH + 1, kind)
    for method, path in await json_operations(client):
        check_problem(await send_body(client, method, path, body), 400, "malformed-request")


@every_kind
async def test_body_of_maximum_depth_is_parsed(client: AsyncClient, kind: tuple[str, str]) -> None:
    body = nested_body(MAX_JSON_DEPTH, kind)
    for response in await send_to_every_operation_with_key(client, body):
        # The models reject the value of the field, so the body has been parsed.
        assert field_error_locations(response)


async def test_deep_item_of_batch_returns_400(client: AsyncClient) -> None:
    item = nested_body(MAX_JSON_DEPTH - 1, ARRAY)
    body = b'{"items":[{"title":"Emma"},%s]}' % item
    response = await send_body(client, "POST", "/books/batch", body)
    check_problem(response, 400, "malformed-request")


async def test_deep_body_with_escaped_characters_returns_400(client: AsyncClient) -> None:
    # The parser encodes the value of a body with `\u` once more, to find half a surrogate pair.
    body = nested_body(950, ARRAY, content='"\\u0041"')
    response = await send_body(client, "POST", "/authors", body)
    check_problem(response, 400, "malformed-request")


@pytest.mark.parametrize(
    "value",
    ["[" * 1000, [[]] * 1000, [{"a": [1]}] * 1000, {str(n): {} for n in range(100)}],
    ids=["brackets in a string", "many arrays", "many objects", "many members"],
)
def test_shallow_json_with_many_brackets_is_parsed(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@every_kind
@pytest.mark.parametrize("depth", [MAX_JSON_DEPTH + 1, 950, 100_000])
def test_too_deep_line_of_file_is_invalid(depth: int, kind: tuple[str, str]) -> None:
    file = BytesIO(nested_body(depth, kind) + b'\n{"name": "Emma"}\n')
    first_line, second_line = parse_lines("jsonl", Name, file)
    assert isinstance(first_line, InvalidLine)
    assert not isinstance(second_line, InvalidLine)
