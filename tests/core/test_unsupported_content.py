"""The headers of 415 responses, which tell the client what body the operation accepts."""

import pytest
from httpx import AsyncClient

from tests.support.entity_case import UNKNOWN_ID
from tests.support.json_bodies import json_operations, send_body, send_body_to_every_operation
from tests.support.problems import check_problem

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
PATCH_TYPES = "application/json, application/merge-patch+json"
# Each operation with the media types that it accepts.
OPERATIONS = [
    ("POST", "/authors", JSON),
    ("PATCH", f"/authors/{UNKNOWN_ID}", PATCH_TYPES),
    ("POST", "/books/batch", JSON),
    ("PATCH", "/users/1", PATCH_TYPES),
    ("POST", "/tokens", FORM),
    ("POST", "/documents", MULTIPART),
    ("PATCH", f"/documents/{UNKNOWN_ID}", MULTIPART),
    ("POST", f"/documents/{UNKNOWN_ID}/uploads", JSON),
]
every_operation = pytest.mark.parametrize(("method", "path", "accepted"), OPERATIONS)


@every_operation
async def test_other_content_type_gets_accepted_media_types(
    client: AsyncClient, method: str, path: str, accepted: str
) -> None:
    response = await send_body(client, method, path, b"x", Content_Type="text/plain")
    check_problem(response, 415, "unsupported-media-type")
    assert response.headers["accept"] == accepted
    # RFC 9110, 12.5.3: only a response to an unsupported content coding may have this header.
    assert "accept-encoding" not in response.headers


@every_operation
async def test_compressed_body_gets_accepted_content_coding(
    client: AsyncClient, method: str, path: str, accepted: str
) -> None:
    content_type = accepted.partition(",")[0]
    response = await send_body(
        client, method, path, b"x", Content_Type=content_type, Content_Encoding="gzip"
    )
    problem = check_problem(response, 415, "unsupported-media-type")
    assert "compressed" in problem["detail"]
    assert response.headers["accept-encoding"] == "identity"
    assert "accept" not in response.headers


@every_operation
@pytest.mark.parametrize("coding", ["identity", "br"])
async def test_only_415_for_patch_has_accept_patch(
    client: AsyncClient, method: str, path: str, accepted: str, coding: str
) -> None:
    response = await send_body(
        client, method, path, b"x", Content_Type="text/plain", Content_Encoding=coding
    )
    expected = accepted if method == "PATCH" else None
    assert response.headers.get("accept-patch") == expected


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate", "zstd", "identity, gzip", "GZIP"])
async def test_every_json_operation_names_the_accepted_content_coding(
    client: AsyncClient, coding: str
) -> None:
    for response in await send_body_to_every_operation(client, b"{}", Content_Encoding=coding):
        assert response.headers["accept-encoding"] == "identity"


async def test_other_charset_gets_accepted_media_types(client: AsyncClient) -> None:
    content_type = "application/json; charset=utf-16"
    for method, path in await json_operations(client):
        response = await send_body(client, method, path, b"{}", Content_Type=content_type)
        assert JSON in response.headers["accept"]


async def test_other_errors_do_not_name_accepted_content(client: AsyncClient) -> None:
    for response in (
        await client.patch(f"/authors/{UNKNOWN_ID}", json={}),
        await send_body(client, "PATCH", f"/authors/{UNKNOWN_ID}", b"x"),
        await client.post("/authors", json={}),
    ):
        assert response.is_error
        assert not {"accept", "accept-encoding", "accept-patch"} & set(response.headers)
