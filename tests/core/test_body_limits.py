"""The maximum sizes of bodies: which limit an operation has, and how clients learn about it."""

import json
from collections.abc import AsyncIterator, Callable

import pytest
from httpx import AsyncClient
from pydantic import ByteSize

from app.core.sizes import format_size
from app.documents.upload import PART_SIZE
from app.settings import Settings
from tests.support.factories import Json, make_author
from tests.support.json_bodies import MAX_BATCH_SIZE, MAX_JSON_SIZE, send_body
from tests.support.multipart import FORM_HEADERS, form_body, form_field, form_file, send_form
from tests.support.problems import check_problem

# Each has 300 code points.
TITLES = {
    "ascii": "x" * 300,
    "two bytes": "\u00e9" * 300,
    "three bytes": "\u6f22" * 300,
    "four bytes": "\U0001f600" * 300,
    "quotes": '"' * 300,
    "control characters": "\x01" * 299 + "x",
    "line separators": "\u2028" * 299 + "x",
}
ENCODERS: dict[str, Callable[[Json], bytes]] = {
    "utf-8": lambda value: json.dumps(value, ensure_ascii=False).encode(),
    "escapes": lambda value: json.dumps(value).encode(),
    "indented escapes": lambda value: json.dumps(value, indent=8).encode(),
}


@pytest.mark.parametrize("title", TITLES.values(), ids=TITLES)
@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
async def test_batch_of_1000_longest_titles_is_accepted(
    client: AsyncClient, title: str, encode: Callable[[Json], bytes]
) -> None:
    author = await make_author(client)
    items = [{"title": title, "author_id": author["id"]}] * 1000
    response = await send_body(client, "POST", "/books/batch", encode({"items": items}))
    assert response.status_code == 201
    assert {book["title"] for book in response.json()["items"]} == {title}


@pytest.mark.parametrize(
    ("path", "limit"), [("/authors", "64 KiB"), ("/users", "64 KiB"), ("/books/batch", "8 MiB")]
)
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_413_says_how_large_body_may_be(
    client: AsyncClient, path: str, limit: str, *, is_chunked: bool
) -> None:
    body = b" " * (MAX_BATCH_SIZE + 1)

    async def stream_body() -> AsyncIterator[bytes]:
        yield body

    response = await client.post(
        path,
        content=stream_body() if is_chunked else body,
        headers={"Content-Type": "application/json"},
    )
    check_problem(response, 413, "payload-too-large")
    assert response.json()["detail"] == f"The request body must not exceed {limit}"


async def test_login_may_have_as_many_bytes_as_json(client: AsyncClient) -> None:
    form = "username=a%40example.com&password=" + "x" * MAX_JSON_SIZE
    response = await client.post(
        "/tokens", content=form, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    check_problem(response, 413, "payload-too-large")
    assert response.json()["detail"] == "The request body must not exceed 64 KiB"


async def test_413_says_how_large_file_may_be(client: AsyncClient, settings: Settings) -> None:
    settings.max_upload_size = ByteSize(2 * 1024)
    file = form_file(bytes(2 * 1024 + 1))
    response = await send_form(client, "POST", "/documents", form_field("name", "Thesis"), file)
    check_problem(response, 413, "payload-too-large")
    assert response.json()["detail"] == "The file must not exceed 2 KiB"


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_413_says_how_large_form_of_document_may_be(
    client: AsyncClient, settings: Settings, *, is_chunked: bool
) -> None:
    settings.max_upload_size = ByteSize(2 * 1024)
    # A preamble is neither a file nor a field.
    form = b"x" * (2 * 1024 + 64 * 1024) + b"\r\n" + form_body()

    async def stream_form() -> AsyncIterator[bytes]:
        yield form

    response = await client.post(
        "/documents", content=stream_form() if is_chunked else form, headers=FORM_HEADERS
    )
    check_problem(response, 413, "payload-too-large")
    detail = "The file must not exceed 2 KiB, and the rest of the form 64 KiB"
    assert response.json()["detail"] == detail


async def test_form_with_more_bytes_than_parts_can_have_is_refused_before_it_arrives(
    client: AsyncClient, settings: Settings
) -> None:
    settings.max_upload_size = ByteSize(2**40)
    size = 10_000 * PART_SIZE + 2 * 64 * 1024
    headers = {**FORM_HEADERS, "Content-Length": str(size)}
    response = await client.post("/documents", content=b"", headers=headers)
    check_problem(response, 413, "payload-too-large")
    detail = "The file must not exceed 80000 MiB, and the rest of the form 64 KiB"
    assert response.json()["detail"] == detail


async def test_openapi_document_states_limit_of_every_json_body(client: AsyncClient) -> None:
    descriptions = {}
    for path, operations in (await client.get("/openapi.json")).json()["paths"].items():
        for operation in operations.values():
            body = operation.get("requestBody", {})
            if "application/json" in body.get("content", {}):
                descriptions[path] = body["description"]
    assert descriptions.pop("/books/batch") == "At most 8 MiB."
    assert set(descriptions.values()) == {"At most 64 KiB."}


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (1000, "1000 bytes"),
        (1024, "1 KiB"),
        (1536, "1536 bytes"),
        (8 * 1024**2, "8 MiB"),
        (5 * 1024**3, "5 GiB"),
        (5 * 1024**3 + 1, "5368709121 bytes"),
    ],
)
def test_size_is_described_in_largest_unit_that_divides_it(size: int, text: str) -> None:
    assert format_size(size) == text
