"""Checks of JSON bodies that are the same for every operation: media type, size and fields."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date, timedelta

import pytest
from httpx import AsyncClient

from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import Json, make_author, make_book, make_user
from tests.support.json_bodies import (
    MAX_JSON_SIZE,
    json_operations,
    max_body_size,
    send_body,
    send_body_to_every_operation,
)
from tests.support.problems import check_problem, field_error_locations

MERGE_PATCH = "application/merge-patch+json"
VALID_BODIES: dict[str, Json] = {
    "/authors": {"name": "Ursula"},
    "/books": {"title": "The Dispossessed", "author_id": UNKNOWN_ID},
    "/users": {"name": "Ada", "email": "ada@example.com", "password": "correct horse"},
}
TEXT_FIELDS = [("/authors", "name", 200), ("/books", "title", 300), ("/users", "name", 100)]

every_text_field = pytest.mark.parametrize(("collection", "field", "longest"), TEXT_FIELDS)


async def create_resource(client: AsyncClient, collection: str) -> str:
    """Create a resource in a collection such as "/books", and return its path."""
    factories: dict[str, Callable[[AsyncClient], Awaitable[Json]]]
    factories = {"/authors": make_author, "/books": make_book, "/users": make_user}
    return f"{collection}/{(await factories[collection](client))['id']}"


async def valid_body(client: AsyncClient, collection: str, **changes: object) -> Json:
    """Return a valid body for a POST to a collection, with these fields changed."""
    body = dict(VALID_BODIES[collection])
    if collection == "/books":
        body["author_id"] = (await make_author(client))["id"]
    return body | changes


@pytest.mark.parametrize(
    "number",
    [b"1" * 5000, b"-" + b"9" * 5000, b"0." + b"1" * 5000, b"1e400", b"-1e400", b"1e999999999"],
)
async def test_enormous_number_is_rejected(client: AsyncClient, number: bytes) -> None:
    # The parser rejects some of the numbers as JSON, and the model rejects the others.
    kinds = {400: "malformed-request", 422: "invalid-request"}
    for response in await send_body_to_every_operation(client, b'{"name": ' + number + b"}"):
        check_problem(response, response.status_code, kinds[response.status_code])


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "text/json",
        "application/jsonp",
        "application/problem+json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "application/json; charset=utf-16",
        "application/json; charset=iso-8859-1",
        "application/json; charset=utf-8; charset=utf-16",
        'application/json; charset="utf-8',
        "application/merge-patch+json; charset=utf-16",
        "application/json, text/plain",
        "json",
        "*/*",
    ],
)
async def test_unsupported_content_type_returns_415(client: AsyncClient, kind: str) -> None:
    for response in await send_body_to_every_operation(client, b"{}", Content_Type=kind):
        check_problem(response, 415, "unsupported-media-type")


async def test_missing_content_type_returns_415(client: AsyncClient) -> None:
    for method, path in await json_operations(client):
        response = await client.request(method, path, content=b"{}")
        check_problem(response, 415, "unsupported-media-type")


async def test_repeated_content_type_returns_415(client: AsyncClient) -> None:
    # A proxy may have used the other one of the two to check the request.
    headers = [("Content-Type", "application/json"), ("Content-Type", "text/plain")]
    response = await client.post("/authors", content=b'{"name": "Ursula"}', headers=headers)
    check_problem(response, 415, "unsupported-media-type")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip", "nonsense"])
async def test_content_encoding_returns_415(client: AsyncClient, coding: str) -> None:
    for response in await send_body_to_every_operation(client, b"{}", Content_Encoding=coding):
        check_problem(response, 415, "unsupported-media-type")


async def test_content_encoding_in_second_header_returns_415(client: AsyncClient) -> None:
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Encoding", "identity"),
        ("Content-Encoding", "gzip"),
    ]
    response = await client.post("/authors", content=b'{"name": "Ursula"}', headers=headers)
    check_problem(response, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json ; charset=utf-8",
        "application/json;; charset=utf-8; charset=utf-8;",
        # The parser of the standard library raises a TypeError for these sections.
        "application/json; a*=b; a*0*=c",
    ],
)
async def test_json_content_type_is_recognized_in_every_notation(
    client: AsyncClient, kind: str
) -> None:
    response = await send_body(client, "POST", "/authors", b'{"name": "Ursula"}', Content_Type=kind)
    assert response.status_code == 201


@pytest.mark.parametrize("collection", VALID_BODIES)
async def test_patch_accepts_merge_patch(client: AsyncClient, collection: str) -> None:
    path = await create_resource(client, collection)
    response = await send_body(client, "PATCH", path, b"{}", Content_Type=MERGE_PATCH)
    assert response.status_code == 200


@pytest.mark.parametrize("collection", VALID_BODIES)
async def test_post_with_merge_patch_returns_415(client: AsyncClient, collection: str) -> None:
    response = await send_body(client, "POST", collection, b"{}", Content_Type=MERGE_PATCH)
    check_problem(response, 415, "unsupported-media-type")


async def stream_of(*parts: bytes) -> AsyncIterator[bytes]:
    """Return a body without a Content-Length."""
    for part in parts:
        yield part


async def test_too_large_content_length_returns_413(client: AsyncClient) -> None:
    for method, path in await json_operations(client):
        response = await send_body(client, method, path, b" " * (max_body_size(path) + 1))
        check_problem(response, 413, "payload-too-large")


async def test_too_large_chunked_body_returns_413(client: AsyncClient) -> None:
    for method, path in await json_operations(client):
        response = await client.request(
            method,
            path,
            content=stream_of(b" " * max_body_size(path), b" "),
            headers={"Content-Type": "application/json"},
        )
        check_problem(response, 413, "payload-too-large")


async def test_reading_of_body_stops_at_limit(client: AsyncClient) -> None:
    sent_bytes = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent_bytes
        for _ in range(1000):
            sent_bytes += 64 * 1024
            yield b" " * 64 * 1024

    response = await client.post(
        "/authors", content=endless(), headers={"Content-Type": "application/json"}
    )
    check_problem(response, 413, "payload-too-large")
    assert sent_bytes <= MAX_JSON_SIZE + 128 * 1024


async def test_body_of_maximum_size_is_accepted(client: AsyncClient) -> None:
    body = b'{"name": "Ursula"}'.ljust(MAX_JSON_SIZE)
    assert (await send_body(client, "POST", "/authors", body)).status_code == 201


async def test_chunked_body_is_accepted(client: AsyncClient) -> None:
    body = '{"name": "García"}'.encode()
    response = await client.post(
        "/authors",
        content=stream_of(
            *(bytes([byte]) for byte in body)
        ),  # one byte per chunk also splits a character
        headers={"Content-Type": "application/json"},
    )
    assert (response.status_code, response.json()["name"]) == (201, "García")


@pytest.mark.parametrize("collection", VALID_BODIES)
async def test_unknown_fields_return_422_with_their_pointers(
    client: AsyncClient, collection: str
) -> None:
    body = await valid_body(client, collection, nmae="x", id=UNKNOWN_ID, version=7, created_at=None)
    expected = [{"pointer": f"/{name}"} for name in ("created_at", "id", "nmae", "version")]
    for response in (
        await client.post(collection, json=body),
        await client.patch(await create_resource(client, collection), json=body),
    ):
        assert sorted(field_error_locations(response), key=str) == expected


@pytest.mark.parametrize("collection", VALID_BODIES)
async def test_missing_fields_return_422_with_their_pointers(
    client: AsyncClient, collection: str
) -> None:
    response = await client.post(collection, json={})
    assert field_error_locations(response) == [
        {"pointer": f"/{name}"} for name in VALID_BODIES[collection]
    ]


STRING_FIELDS = [(path, field) for path, body in VALID_BODIES.items() for field in body]
every_string_field = pytest.mark.parametrize(("collection", "field"), STRING_FIELDS)


@every_string_field
async def test_other_type_for_string_returns_422(
    client: AsyncClient, collection: str, field: str
) -> None:
    body = await valid_body(client, collection)
    path = await create_resource(client, collection)
    for value in (None, 0, 1.5, True, False, [], ["x"], {}, {"x": "y"}):
        for response in (
            await client.post(collection, json=body | {field: value}),
            await client.patch(path, json={field: value}),
        ):
            assert field_error_locations(response) == [{"pointer": f"/{field}"}]


@every_string_field
async def test_nul_in_string_returns_422(client: AsyncClient, collection: str, field: str) -> None:
    body = await valid_body(client, collection)
    path = await create_resource(client, collection)
    for value in ("\0" + body[field], body[field] + "\0", body[field][:3] + "\0" + body[field]):
        for response in (
            await client.post(collection, json=body | {field: value}),
            await client.patch(path, json={field: value}),
        ):
            assert field_error_locations(response) == [{"pointer": f"/{field}"}]


@every_text_field
@pytest.mark.parametrize("character", ["x", "é", "😀"])
async def test_string_of_maximum_length_is_accepted(
    client: AsyncClient, collection: str, field: str, longest: int, character: str
) -> None:
    for length in (1, longest):  # characters, not bytes
        value = character * length
        response = await client.post(
            collection, json=await valid_body(client, collection, **{field: value})
        )
        assert response.status_code == 201, response.text
        assert response.json()[field] == value
        await client.delete(response.headers["location"])


@every_text_field
async def test_too_short_or_too_long_string_returns_422(
    client: AsyncClient, collection: str, field: str, longest: int
) -> None:
    path = await create_resource(client, collection)
    for length in (0, longest + 1, 60_000):
        body = await valid_body(client, collection, **{field: "x" * length})
        for response in (
            await client.post(collection, json=body),
            await client.patch(path, json={field: "x" * length}),
        ):
            assert field_error_locations(response) == [{"pointer": f"/{field}"}]


def email_of_length(length: int) -> str:
    """Return a valid email address with so many characters, at least 240."""
    labels = f"{'b' * 63}.{'c' * 63}.{'d' * 50}"
    start = f"{'a' * 64}@{labels}."
    return start + "e" * (length - len(start))


async def test_email_of_254_characters_is_accepted(client: AsyncClient) -> None:
    user = await make_user(client, email=email_of_length(254))
    assert user["email"] == email_of_length(254)


@pytest.mark.parametrize("email", [email_of_length(255), "a" * 60_000])
async def test_email_of_more_than_254_characters_returns_422(
    client: AsyncClient, email: str
) -> None:
    body = await valid_body(client, "/users", email=email)
    assert field_error_locations(await client.post("/users", json=body)) == [{"pointer": "/email"}]


UNUSUAL_TEXTS = {
    "leading and trailing blanks": "  a  b  ",
    "tabs and newlines": "\ta\r\n",
    "control characters": "\x01a\x1f\x7f\x80\x85",
    "decomposed": "Garci\u0301a Ma\u0301rquez",
    "composed": "Garc\u00eda M\u00e1rquez",
    "compatibility characters": "\ufb01 \u2460 \uff21 \u212b",
    "emoji with joiners": "👩\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈",
    "astral": "\U0001d4b0\U0001d4c7 \U00020000 \U0010fffd",
    "noncharacters": "\ufffe\uffff\U0010ffff",
    "right to left": "\u200fمحمود درويش\u202e\u2066x\u2069",
    "a byte order mark": "\ufeffx",
    "line separators": "a\u2028b\u2029c",
    "quotes and backslashes": "\"'`\\/\\u0000 %00 \\0",
    "markup and SQL": "<b>&amp;</b>'; DROP TABLE authors; --",
    "braces and colons": ":name %(name)s {name} $1 ${x}",
    "replacement": "\ufffd",
    "wide case": "ßẞİıſ",
}


@pytest.mark.parametrize("value", UNUSUAL_TEXTS.values(), ids=UNUSUAL_TEXTS.keys())
async def test_string_is_stored_unchanged(client: AsyncClient, value: str) -> None:
    for collection, field, _ in TEXT_FIELDS:
        body = await valid_body(client, collection, **{field: value})
        created = await client.post(collection, json=body)
        path = created.headers["location"]
        assert created.json()[field] == value
        assert (await client.get(path)).json()[field] == value
        assert value in {item[field] for item in (await client.get(collection)).json()["items"]}
        assert (await client.patch(path, json={field: "x"})).json()[field] == "x"
        assert (await client.patch(path, json={field: value})).json()[field] == value


async def test_response_contains_unescaped_utf_8(client: AsyncClient) -> None:
    name = "Garci\u0301a 😀\u200f"
    author = await make_author(client, name=name)
    assert name.encode() in (await client.get(f"/authors/{author['id']}")).content


@pytest.mark.parametrize(("collection", "field"), STRING_FIELDS)
async def test_null_for_required_field_returns_422(
    client: AsyncClient, collection: str, field: str
) -> None:
    path = await create_resource(client, collection)
    before = (await client.get(path)).json()
    body = await valid_body(client, collection, **{field: None})
    assert field_error_locations(await client.post(collection, json=body)) == [
        {"pointer": f"/{field}"}
    ]
    response = await client.patch(path, json={field: None})
    assert field_error_locations(response) == [{"pointer": f"/{field}"}]
    assert (await client.get(path)).json() == before


@pytest.mark.parametrize(
    "dob",
    [
        *(0, -1, 1e10, 20200203, True, False, [], {}),
        *("", "0", "20200203", "2020-2-3", "2020-02-3", "20-02-03", "02020-02-03", "2020/02/03"),
        *("2020-02-03T00:00:00", "2020-02-03T00:00:00Z", "2020-02-03 00:00:00", "1580688000"),
        *("2020-02-30", "2023-02-29", "2020-13-01", "2020-00-10", "2020-01-00", "0000-01-01"),
        *(" 2020-02-03", "2020-02-03 ", "2020-02-03\n", "+2020-02-03", "-2020-02-03"),
        *("10000-01-01", "\uff12020-02-03", "2020-W06-1", "2020-034", "infinity", "-infinity"),
        *("today", "now", "epoch", "2020-02-03 BC"),
    ],
)
async def test_invalid_date_returns_422(client: AsyncClient, dob: object) -> None:
    path = await create_resource(client, "/authors")
    for response in (
        await client.post("/authors", json={"name": "Ursula", "dob": dob}),
        await client.patch(path, json={"dob": dob}),
    ):
        assert field_error_locations(response) == [{"pointer": "/dob"}]


@pytest.mark.parametrize("dob", ["1582-10-10", "1900-02-28", "2000-02-29", "9999-01-01"])
async def test_valid_date_is_stored_unchanged(client: AsyncClient, dob: str) -> None:
    author = await make_author(client, dob=dob)
    assert author["dob"] == dob
    assert (await client.get(f"/authors/{author['id']}")).json()["dob"] == dob


# asyncpg writes the first and the last date of Python as -infinity and infinity.
EXTREME_DATES = [date.min, date.min + timedelta(1), date.max - timedelta(1), date.max]


@pytest.mark.parametrize("dob", [edge.isoformat() for edge in EXTREME_DATES])
async def test_extreme_date_is_stored_unchanged_or_rejected(client: AsyncClient, dob: str) -> None:
    path = await create_resource(client, "/authors")
    for response in (
        await client.post("/authors", json={"name": "Ursula", "dob": dob}),
        await client.patch(path, json={"dob": dob}),
    ):
        if response.is_success:
            assert response.json()["dob"] == dob
        else:
            check_problem(response, 422, "invalid-request")
    stored_authors = (await client.get("/authors")).json()["items"]
    assert {author["dob"] for author in stored_authors} <= {None, dob}


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            "",
            "x",
            UNKNOWN_ID[:-1],
            UNKNOWN_ID + "0",
            UNKNOWN_ID.replace("-", ""),
            f"urn:uuid:{UNKNOWN_ID}",
        ),
        *(
            f"{{{UNKNOWN_ID}}}",
            f" {UNKNOWN_ID}",
            f"{UNKNOWN_ID}\n",
            UNKNOWN_ID.replace("8", "\uff18"),
        ),
    ],
)
async def test_invalid_id_returns_422(client: AsyncClient, wrong: str) -> None:
    path = await create_resource(client, "/books")
    for response in (
        await client.post("/books", json={"title": "x", "author_id": wrong}),
        await client.patch(path, json={"author_id": wrong}),
    ):
        assert field_error_locations(response) == [{"pointer": "/author_id"}]


async def test_all_errors_of_a_body_are_reported_together(client: AsyncClient) -> None:
    body = {"name": "", "email": "x", "password": "short", "role": "boss"}
    pointers = {
        fault["pointer"] for fault in field_error_locations(await client.post("/users", json=body))
    }
    assert pointers == {"/name", "/email", "/password", "/role"}
