"""Strict JSON: what a body may be, on every endpoint that takes one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date, timedelta

import pytest
from httpx import AsyncClient, Response

from tests.authors.test_authors import NOBODY
from tests.support.factories import Json, make_author, make_book, make_user
from tests.support.problems import check_problem, field_error_locations

MERGE_PATCH = "application/merge-patch+json"
LIMIT = 1024 * 1024  # bytes of a JSON body
GOOD: dict[str, Json] = {
    "/authors": {"name": "Ursula"},
    "/books": {"title": "The Dispossessed", "author_id": NOBODY},
    "/users": {"name": "Ada", "email": "ada@example.com", "password": "correct horse"},
}
TEXTS = [("/authors", "name", 200), ("/books", "title", 300), ("/users", "name", 100)]

texts = pytest.mark.parametrize(("collection", "field", "longest"), TEXTS)


async def send(
    client: AsyncClient, method: str, path: str, body: bytes, **headers: str
) -> Response:
    """A request with any bytes at all; `Content_Encoding="gzip"` is a header."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named = {"Content-Type": "application/json"} | named
    return await client.request(method, path, content=body, headers=named)


async def endpoints(client: AsyncClient) -> list[tuple[str, str]]:
    """Every operation of the document with a JSON body: its method and the path of nothing."""
    found = []
    for path, item in (await client.get("/openapi.json")).json()["paths"].items():
        for method, operation in item.items():
            if "application/json" in operation.get("requestBody", {}).get("content", {}):
                found.append((method, path.format(id=1 if "users" in path else NOBODY)))
    assert len(found) >= 8
    return found


async def send_everywhere(client: AsyncClient, body: bytes, **headers: str) -> list[Response]:
    """The answers of every endpoint that takes a body."""
    return [await send(client, *endpoint, body, **headers) for endpoint in await endpoints(client)]


async def made(client: AsyncClient, collection: str) -> str:
    """The path of something that exists in a collection."""
    make: dict[str, Callable[[AsyncClient], Awaitable[Json]]]
    make = {"/authors": make_author, "/books": make_book, "/users": make_user}
    return f"{collection}/{(await make[collection](client))['id']}"


async def valid(client: AsyncClient, collection: str, **changes: object) -> Json:
    """A body that creates something, but for the changes."""
    body = dict(GOOD[collection])
    if collection == "/books":
        body["author_id"] = (await make_author(client))["id"]
    return body | changes


@pytest.mark.parametrize(
    "number",
    [b"1" * 5000, b"-" + b"9" * 5000, b"0." + b"1" * 5000, b"1e400", b"-1e400", b"1e999999999"],
)
async def test_an_enormous_number_is_refused(client: AsyncClient, number: bytes) -> None:
    # Whether it is JSON at all depends on how far the parser reads it.
    kinds = {400: "malformed-request", 422: "invalid-request"}
    for answer in await send_everywhere(client, b'{"name": ' + number + b"}"):
        check_problem(answer, answer.status_code, kinds[answer.status_code])


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
        "application/merge-patch+json; charset=utf-16",
        "application/json, text/plain",
        "json",
        "*/*",
    ],
)
async def test_another_content_type_is_unsupported(client: AsyncClient, kind: str) -> None:
    for answer in await send_everywhere(client, b"{}", Content_Type=kind):
        check_problem(answer, 415, "unsupported-media-type")


async def test_a_missing_content_type_is_unsupported(client: AsyncClient) -> None:
    for method, path in await endpoints(client):
        answer = await client.request(method, path, content=b"{}")
        check_problem(answer, 415, "unsupported-media-type")


async def test_a_second_content_type_is_unsupported(client: AsyncClient) -> None:
    # Which of the two would a proxy in front have believed?
    headers = [("Content-Type", "application/json"), ("Content-Type", "text/plain")]
    answer = await client.post("/authors", content=b'{"name": "Ursula"}', headers=headers)
    check_problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip", "nonsense"])
async def test_a_content_encoding_is_unsupported(client: AsyncClient, coding: str) -> None:
    for answer in await send_everywhere(client, b"{}", Content_Encoding=coding):
        check_problem(answer, 415, "unsupported-media-type")


async def test_a_content_encoding_on_a_second_line_is_unsupported(client: AsyncClient) -> None:
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Encoding", "identity"),
        ("Content-Encoding", "gzip"),
    ]
    answer = await client.post("/authors", content=b'{"name": "Ursula"}', headers=headers)
    check_problem(answer, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json ; charset=utf-8",
    ],
)
async def test_json_is_recognized_however_it_is_written(client: AsyncClient, kind: str) -> None:
    answer = await send(client, "POST", "/authors", b'{"name": "Ursula"}', Content_Type=kind)
    assert answer.status_code == 201


@pytest.mark.parametrize("collection", GOOD)
async def test_a_merge_patch_is_taken_by_patch(client: AsyncClient, collection: str) -> None:
    path = await made(client, collection)
    answer = await send(client, "PATCH", path, b"{}", Content_Type=MERGE_PATCH)
    assert answer.status_code == 200


@pytest.mark.parametrize("collection", GOOD)
async def test_a_merge_patch_is_unsupported_by_post(client: AsyncClient, collection: str) -> None:
    answer = await send(client, "POST", collection, b"{}", Content_Type=MERGE_PATCH)
    check_problem(answer, 415, "unsupported-media-type")


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    """A body without a Content-Length."""
    for part in parts:
        yield part


async def test_a_body_that_announces_too_much_is_too_large(client: AsyncClient) -> None:
    for answer in await send_everywhere(client, b" " * (LIMIT + 1)):
        check_problem(answer, 413, "payload-too-large")


async def test_a_body_of_unknown_length_that_grows_too_large_is_refused(
    client: AsyncClient,
) -> None:
    for method, path in await endpoints(client):
        answer = await client.request(
            method,
            path,
            content=chunks(b" " * LIMIT, b" "),
            headers={"Content-Type": "application/json"},
        )
        check_problem(answer, 413, "payload-too-large")


async def test_no_more_of_a_body_is_read_than_the_limit(client: AsyncClient) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 64 * 1024
            yield b" " * 64 * 1024

    answer = await client.post(
        "/authors", content=endless(), headers={"Content-Type": "application/json"}
    )
    check_problem(answer, 413, "payload-too-large")
    assert taken <= LIMIT + 128 * 1024


async def test_a_body_of_exactly_the_limit_is_taken(client: AsyncClient) -> None:
    body = b'{"name": "Ursula"}'.ljust(LIMIT)
    assert (await send(client, "POST", "/authors", body)).status_code == 201


async def test_a_body_in_many_chunks_is_one_body(client: AsyncClient) -> None:
    body = '{"name": "García"}'.encode()
    answer = await client.post(
        "/authors",
        content=chunks(*(bytes([byte]) for byte in body)),  # also inside of a character
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["name"]) == (201, "García")


@pytest.mark.parametrize("collection", GOOD)
async def test_unknown_fields_are_named(client: AsyncClient, collection: str) -> None:
    body = await valid(client, collection, nmae="x", id=NOBODY, version=7, created_at=None)
    expected = [{"pointer": f"/{name}"} for name in ("created_at", "id", "nmae", "version")]
    for answer in (
        await client.post(collection, json=body),
        await client.patch(await made(client, collection), json=body),
    ):
        assert sorted(field_error_locations(answer), key=str) == expected


@pytest.mark.parametrize("collection", GOOD)
async def test_missing_fields_are_named(client: AsyncClient, collection: str) -> None:
    answer = await client.post(collection, json={})
    assert field_error_locations(answer) == [{"pointer": f"/{name}"} for name in GOOD[collection]]


STRINGS = [(path, field) for path, body in GOOD.items() for field in body]
strings = pytest.mark.parametrize(("collection", "field"), STRINGS)


@strings
async def test_only_a_string_is_a_string(client: AsyncClient, collection: str, field: str) -> None:
    body = await valid(client, collection)
    path = await made(client, collection)
    for value in (None, 0, 1.5, True, False, [], ["x"], {}, {"x": "y"}):
        for answer in (
            await client.post(collection, json=body | {field: value}),
            await client.patch(path, json={field: value}),
        ):
            assert field_error_locations(answer) == [{"pointer": f"/{field}"}]


@strings
async def test_a_string_may_not_contain_nul(
    client: AsyncClient, collection: str, field: str
) -> None:
    body = await valid(client, collection)
    path = await made(client, collection)
    for value in ("\0" + body[field], body[field] + "\0", body[field][:3] + "\0" + body[field]):
        for answer in (
            await client.post(collection, json=body | {field: value}),
            await client.patch(path, json={field: value}),
        ):
            assert field_error_locations(answer) == [{"pointer": f"/{field}"}]


@texts
@pytest.mark.parametrize("character", ["x", "é", "😀"])
async def test_a_text_as_long_as_allowed_is_taken(
    client: AsyncClient, collection: str, field: str, longest: int, character: str
) -> None:
    for length in (1, longest):  # characters, not bytes
        value = character * length
        answer = await client.post(
            collection, json=await valid(client, collection, **{field: value})
        )
        assert answer.status_code == 201, answer.text
        assert answer.json()[field] == value
        await client.delete(answer.headers["location"])


@texts
async def test_a_text_too_short_or_too_long_is_refused(
    client: AsyncClient, collection: str, field: str, longest: int
) -> None:
    path = await made(client, collection)
    for length in (0, longest + 1, 100_000):
        body = await valid(client, collection, **{field: "x" * length})
        for answer in (
            await client.post(collection, json=body),
            await client.patch(path, json={field: "x" * length}),
        ):
            assert field_error_locations(answer) == [{"pointer": f"/{field}"}]


def email_of(length: int) -> str:
    labels = f"{'b' * 63}.{'c' * 63}.{'d' * 50}"
    start = f"{'a' * 64}@{labels}."
    return start + "e" * (length - len(start))


async def test_an_email_may_have_254_characters(client: AsyncClient) -> None:
    user = await make_user(client, email=email_of(254))
    assert user["email"] == email_of(254)


@pytest.mark.parametrize("email", [email_of(255), "a" * 100_000])
async def test_a_longer_email_is_refused(client: AsyncClient, email: str) -> None:
    body = await valid(client, "/users", email=email)
    assert field_error_locations(await client.post("/users", json=body)) == [{"pointer": "/email"}]


ODD = {
    "leading and trailing blanks": "  a  b  ",
    "a blank": " ",
    "tabs and newlines": "\t\r\n",
    "control characters": "\x01\x1f\x7f\x80\x85",
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


@pytest.mark.parametrize("value", ODD.values(), ids=ODD.keys())
async def test_a_text_is_kept_byte_for_byte(client: AsyncClient, value: str) -> None:
    for collection, field, _ in TEXTS:
        body = await valid(client, collection, **{field: value})
        created = await client.post(collection, json=body)
        path = created.headers["location"]
        assert created.json()[field] == value
        assert (await client.get(path)).json()[field] == value
        assert value in {item[field] for item in (await client.get(collection)).json()["items"]}
        assert (await client.patch(path, json={field: "x"})).json()[field] == "x"
        assert (await client.patch(path, json={field: value})).json()[field] == value


async def test_a_text_is_answered_in_plain_utf_8(client: AsyncClient) -> None:
    name = "Garci\u0301a 😀\u200f"
    author = await make_author(client, name=name)
    assert name.encode() in (await client.get(f"/authors/{author['id']}")).content


@pytest.mark.parametrize(("collection", "field"), STRINGS)
async def test_null_is_no_value_of_a_field_that_must_have_one(
    client: AsyncClient, collection: str, field: str
) -> None:
    path = await made(client, collection)
    before = (await client.get(path)).json()
    body = await valid(client, collection, **{field: None})
    assert field_error_locations(await client.post(collection, json=body)) == [
        {"pointer": f"/{field}"}
    ]
    answer = await client.patch(path, json={field: None})
    assert field_error_locations(answer) == [{"pointer": f"/{field}"}]
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
async def test_what_is_no_date_is_refused(client: AsyncClient, dob: object) -> None:
    path = await made(client, "/authors")
    for answer in (
        await client.post("/authors", json={"name": "Ursula", "dob": dob}),
        await client.patch(path, json={"dob": dob}),
    ):
        assert field_error_locations(answer) == [{"pointer": "/dob"}]


@pytest.mark.parametrize("dob", ["1582-10-10", "1900-02-28", "2000-02-29", "9999-01-01"])
async def test_any_date_is_kept_exactly(client: AsyncClient, dob: str) -> None:
    author = await make_author(client, dob=dob)
    assert author["dob"] == dob
    assert (await client.get(f"/authors/{author['id']}")).json()["dob"] == dob


# The driver writes the first and the last day as -infinity and infinity.
EDGES = [date.min, date.min + timedelta(1), date.max - timedelta(1), date.max]


@pytest.mark.parametrize("dob", [edge.isoformat() for edge in EDGES])
async def test_a_date_at_the_end_of_time_is_kept_or_refused(client: AsyncClient, dob: str) -> None:
    path = await made(client, "/authors")
    for answer in (
        await client.post("/authors", json={"name": "Ursula", "dob": dob}),
        await client.patch(path, json={"dob": dob}),
    ):
        if answer.is_success:
            assert answer.json()["dob"] == dob
        else:
            check_problem(answer, 422, "invalid-request")
    kept = (await client.get("/authors")).json()["items"]
    assert {author["dob"] for author in kept} <= {None, dob}


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "x", NOBODY[:-1], NOBODY + "0", NOBODY.replace("-", ""), f"urn:uuid:{NOBODY}"),
        *(f"{{{NOBODY}}}", f" {NOBODY}", f"{NOBODY}\n", NOBODY.replace("8", "\uff18")),
    ],
)
async def test_what_is_no_id_is_refused(client: AsyncClient, wrong: str) -> None:
    path = await made(client, "/books")
    for answer in (
        await client.post("/books", json={"title": "x", "author_id": wrong}),
        await client.patch(path, json={"author_id": wrong}),
    ):
        assert field_error_locations(answer) == [{"pointer": "/author_id"}]


async def test_all_faults_of_a_body_are_told_at_once(client: AsyncClient) -> None:
    body = {"name": "", "email": "x", "password": "short", "role": "boss"}
    pointers = {
        fault["pointer"] for fault in field_error_locations(await client.post("/users", json=body))
    }
    assert pointers == {"/name", "/email", "/password", "/role"}
