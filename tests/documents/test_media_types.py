"""Media types of files: which are stored, and that downloads have them."""

import pytest
from httpx import AsyncClient

from tests.support.factories import Json, make_direct_upload, make_document
from tests.support.multipart import download, form_field, form_part, send_form

NAME = form_field("name", "Thesis")
FILE_DISPOSITION = 'Content-Disposition: form-data; name="file"; filename="a"'
CONTENT = b"%PDF-2.0"
UNKNOWN = "application/octet-stream"

# The grammar of RFC 9110, 8.3.1.
MEDIA_TYPES = {
    "a range": "image/*",
    "any type": "*/*",
    "every character of a token": "a!#$%&'*+-.^_`|~9/Z!#$%&'*+-.^_`|~9",
    "a trailing semicolon": "text/plain;",
    "empty parameters": "text/plain; ;;charset=utf-8 ;",
    "blanks before a semicolon": "text/plain \t;\tcharset=utf-8",
    "a quoted string": 'a/b; x=" <>@,;:/[]?={}()"; y=""',
    "quoted pairs": r'a/b; x="\"\\\a"',
    "a tab": 'a/b; x="\t"',
    "a URL's delimiters": 'a/b; x="&response-cache-control=no-store#?%0d%0aX: y"',
    "255 characters": "a/" + "b" * 253,
}
INVALID_TYPES = {
    "empty": "",
    "blank": " ",
    "a word": "pdf",
    "no subtype": "text/",
    "no type": "/plain",
    "two types": "a/b, c/d",
    "beyond ASCII": "a/é",
    "beyond ASCII in a quoted string": 'a/b; x="é"',
    "a parameter without a value": "text/plain; charset",
    "a parameter without a name": "text/plain; =x",
    "a blank in a value": "text/plain; charset = utf-8",
    "a quote without an end": 'text/plain; x="a',
    "a backslash at the end": 'text/plain; x="a\\"',
    "a control character": 'text/plain; x="\x01"',
    "256 characters": "a/" + "b" * 254,
}


async def create_document(client: AsyncClient, content_type: bytes) -> Json:
    file = form_part(FILE_DISPOSITION, b"Content-Type: " + content_type, content=CONTENT)
    response = await send_form(client, "POST", "/documents", NAME, file)
    assert response.status_code == 201, response.text
    document: Json = response.json()
    return document


@pytest.mark.parametrize("content_type", MEDIA_TYPES.values(), ids=MEDIA_TYPES.keys())
async def test_file_is_downloaded_with_its_media_type(
    client: AsyncClient, content_type: str
) -> None:
    document = await create_document(client, content_type.encode())
    assert document["content_type"] == content_type
    response = await download(document["file_url"])
    assert (response.status_code, response.content) == (200, CONTENT)
    assert response.headers["content-type"] == content_type
    assert "x" not in response.headers


@pytest.mark.parametrize("content_type", INVALID_TYPES.values(), ids=INVALID_TYPES.keys())
async def test_file_with_invalid_media_type_is_stored_as_octet_stream(
    client: AsyncClient, content_type: str
) -> None:
    document = await create_document(client, content_type.encode())
    assert document["content_type"] == UNKNOWN
    response = await download(document["file_url"])
    assert (response.headers["content-type"], response.content) == (UNKNOWN, CONTENT)


async def test_media_type_that_is_not_utf_8_is_stored_as_octet_stream(client: AsyncClient) -> None:
    assert (await create_document(client, b"text/\xff"))["content_type"] == UNKNOWN


async def test_blanks_around_media_type_are_removed(client: AsyncClient) -> None:
    assert (await create_document(client, b"\ttext/plain "))["content_type"] == "text/plain"


async def complete_direct_upload(client: AsyncClient, **fields: object) -> Json:
    path = f"/documents/{(await make_document(client))['id']}"
    upload_path = await make_direct_upload(client, path, CONTENT, **fields)
    response = await client.post(f"{upload_path}/complete")
    assert response.status_code == 200, response.text
    document: Json = response.json()
    return document


@pytest.mark.parametrize(
    ("content_type", "stored_type"),
    [
        ("image/*", "image/*"),
        ("text/plain;", "text/plain;"),
        # Browsers have an empty `File.type` if the operating system does not know the type.
        ("", UNKNOWN),
        ("pdf", UNKNOWN),
        ("a/é", UNKNOWN),
        ("text/html\r\nX: y", UNKNOWN),
        ("a/\0", UNKNOWN),
        ("a/" + "b" * 254, UNKNOWN),
    ],
)
async def test_direct_upload_has_the_same_rule_for_media_types(
    client: AsyncClient, content_type: str, stored_type: str
) -> None:
    document = await complete_direct_upload(client, content_type=content_type)
    assert document["content_type"] == stored_type
    response = await download(document["file_url"])
    assert (response.headers["content-type"], response.content) == (stored_type, CONTENT)


async def test_direct_upload_without_media_type_is_octet_stream(client: AsyncClient) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    body = {"filename": "C:\\" + "folder\\" * 100 + "a.pdf", "size": len(CONTENT)}
    upload = (await client.post(f"{path}/uploads", json=body)).json()
    async with AsyncClient() as store_client:
        await store_client.put(upload["parts"][0]["url"], content=CONTENT)
    document = (await client.post(f"{path}/uploads/{upload['id']}/complete")).json()
    assert (document["filename"], document["content_type"]) == ("a.pdf", UNKNOWN)
