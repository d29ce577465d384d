"""Bodies that are small, but take long to parse and to validate."""

import json

import httpx
import pytest
from httpx import AsyncClient

from app.core.field_errors import MAX_FIELD_ERRORS
from app.core.formats import (
    MAX_JSON_INTEGER_LENGTH,
    MAX_JSON_MEMBERS,
    MAX_JSON_VALUES,
    JsonTooLarge,
    parse_json,
)
from app.core.http import MAX_BATCH_BODY_SIZE
from tests.support.factories import Json
from tests.support.json_bodies import json_operations, send_body
from tests.support.problems import check_problem

JSON_HEADERS = {"Content-Type": "application/json"}
# Bodies of several MiB, and the limit that the detail of the problem names.
COSTLY_BATCHES = {
    "empty arrays": (f'{{"items":[{"[]," * 2_500_000}[]]}}', "20,000 values"),
    "empty objects": (f'{{"items":[{"{}," * 2_500_000}{{}}]}}', "20,000 values"),
    "numbers": (f'{{"items":[{"1," * 4_000_000}1]}}', "20,000 values"),
    "nested arrays": (f'{{"items":[{("[" * 50 + "]" * 50 + ",") * 80_000}1]}}', "20,000 values"),
    "brackets": ("[" * MAX_BATCH_BODY_SIZE, "20,000 values"),
    "long integers": (f'{{"items":[{("1" * 4000 + ",") * 2000}1]}}', "300 digits"),
}


def object_with_members(count: int) -> str:
    """Return an object with a number of members, none of which is known."""
    members = (f'"unknown_{number}": {number}' for number in range(count))
    return f"{{{', '.join(members)}}}"


@pytest.mark.parametrize("name", COSTLY_BATCHES)
async def test_batch_with_too_many_values_is_refused_before_it_is_parsed(
    origin: str, name: str
) -> None:
    body, limit = COSTLY_BATCHES[name]
    response = httpx.post(f"{origin}/books/batch", content=body, headers=JSON_HEADERS)
    problem = check_problem(response, 400, "malformed-request")
    assert limit in problem["detail"]


async def test_batch_with_an_object_of_many_members_is_refused(origin: str) -> None:
    body = f'{{"items": [{object_with_members(10_000)}]}}'
    response = httpx.post(f"{origin}/books/batch", content=body, headers=JSON_HEADERS)
    problem = check_problem(response, 400, "malformed-request")
    assert "100 members" in problem["detail"]


async def test_object_with_101_members_is_refused_by_every_operation(client: AsyncClient) -> None:
    body = object_with_members(MAX_JSON_MEMBERS + 1).encode()
    for method, path in await json_operations(client):
        problem = check_problem(
            await send_body(client, method, path, body), 400, "malformed-request"
        )
        assert f"{MAX_JSON_MEMBERS} members" in problem["detail"]


async def test_object_with_100_members_is_validated(client: AsyncClient) -> None:
    body = object_with_members(MAX_JSON_MEMBERS)
    response = await client.post("/authors", content=body, headers=JSON_HEADERS)
    problem = check_problem(response, 422, "invalid-request")
    # The name is missing, and all members are unknown, so that one error is left out.
    assert len(problem["errors"]) == MAX_FIELD_ERRORS
    assert problem["detail"].endswith("lists the first 100 of the invalid values.")


async def test_detail_does_not_mention_more_errors_if_all_are_listed(client: AsyncClient) -> None:
    body = object_with_members(MAX_JSON_MEMBERS - 1)
    response = await client.post("/authors", content=body, headers=JSON_HEADERS)
    problem = check_problem(response, 422, "invalid-request")
    assert len(problem["errors"]) == MAX_FIELD_ERRORS
    assert problem["detail"].endswith("The member errors lists them.")


async def test_batch_with_the_most_errors_lists_the_first_100(origin: str) -> None:
    item = object_with_members(MAX_JSON_VALUES // 1000 - 2)
    body = f'{{"items": [{", ".join([item] * 1000)}]}}'
    response = httpx.post(f"{origin}/books/batch", content=body, headers=JSON_HEADERS)
    problem = check_problem(response, 422, "invalid-request")
    assert len(problem["errors"]) == MAX_FIELD_ERRORS
    assert problem["detail"].endswith("lists the first 100 of the invalid values.")


async def test_batch_of_1000_titles_full_of_separators_is_accepted(client: AsyncClient) -> None:
    author = await client.post("/authors", json={"name": "Ada"})
    item = {"title": ',["{\\' * 50, "author_id": author.json()["id"]}
    response = await client.post("/books/batch", json={"items": [item] * 1000})
    assert response.status_code == 201


async def test_query_with_thousands_of_unknown_parameters_lists_the_first_100(
    client: AsyncClient,
) -> None:
    query = "&".join(f"{number:x}" for number in range(1500))
    problem = check_problem(await client.get(f"/books?{query}"), 422, "invalid-request")
    assert len(problem["errors"]) == MAX_FIELD_ERRORS
    assert problem["detail"].endswith("lists the first 100 of the invalid values.")


async def test_content_type_with_thousands_of_parameters_is_415(client: AsyncClient) -> None:
    headers = {"Content-Type": "application/json;" + "a=b;" * 10_000}
    response = await client.post("/authors", content=b"{}", headers=headers)
    check_problem(response, 415, "unsupported-media-type")


# Items of an array, and how many of the counted values each of them is. An array or object has an
# opening bracket in addition to its separator.
every_item = pytest.mark.parametrize(
    ("item", "value_count"),
    [(1, 1), ("a,[{b", 1), ("\\", 1), ('\\"', 1), ("", 1), ([], 2), ({"a,": ",b"}, 2)],
)


@every_item
def test_exactly_the_maximum_number_of_values_is_parsed(item: Json, value_count: int) -> None:
    value = [item] * (MAX_JSON_VALUES // value_count - 1)
    assert parse_json(json.dumps(value).encode()) == value


@every_item
def test_more_than_the_maximum_number_of_values_is_refused(item: Json, value_count: int) -> None:
    value = [item] * (MAX_JSON_VALUES // value_count + 1)
    with pytest.raises(JsonTooLarge, match=r"20,000 values"):
        parse_json(json.dumps(value).encode())


@pytest.mark.parametrize(
    "text",
    [
        # Strings without an end, adjacent strings, and brackets that are not closed.
        '"' + "," * 30_000,
        '"' + "[" * 30_000 + "\\",
        '["' + ',"' * 30_000,
        '""' * 30_000 + "," * 30_000,
        '"\\' + "[" * 30_000 + '"' * 3,
    ],
)
def test_text_that_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text.encode())


@pytest.mark.parametrize("sign", ["", "-"])
def test_integer_with_too_many_digits_is_refused(sign: str) -> None:
    digits = sign + "1" * (MAX_JSON_INTEGER_LENGTH - len(sign))
    assert parse_json(digits.encode()) == int(digits)
    with pytest.raises(JsonTooLarge, match=r"300 digits"):
        parse_json(f"{digits}1".encode())
