"""Text in forms: filenames as clients write them, and the charsets of text fields."""

import json
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest
import requests
from httpx import AsyncClient

from app.settings import Settings
from tests.support.factories import Json
from tests.support.multipart import form_field, form_part, send_form
from tests.support.problems import check_field_error
from tests.support.processes import running_server
from tests.support.programs import CURL, run_program

NAME = form_field("name", "Thesis")
CONTENT = b"%PDF-2.0"
LONG_NAME = "x" * 255

# The parameters of Content-Disposition after the name of the field, and the filename.
FILENAMES = {
    "UTF-8": ("filename*=UTF-8''a%C3%B1o%20%E2%82%AC.pdf", "año €.pdf"),
    "ISO-8859-1 with a language": ("filename*=iso-8859-1'es'a%F1o.pdf", "año.pdf"),
    "UTF-16": ("filename*=utf-16''%FF%FEa%00", "a"),
    "unescaped characters": ("filename*=UTF-8''a b(c)'*.pdf", "a b(c)'*.pdf"),
    "quoted": ("filename*=\"UTF-8''a%22b.pdf\"", 'a"b.pdf'),
    "a path": ("filename*=UTF-8''%2Fhome%2Fada%5Ca.pdf", "a.pdf"),
    "before filename": ("filename*=UTF-8''a%C3%B1o.pdf; filename=ano.pdf", "año.pdf"),
    "after filename": ("filename=ano.pdf; filename*=UTF-8''a%C3%B1o.pdf", "año.pdf"),
    "sections": (
        "filename*0*=UTF-8''a%C3; filename*1*=%B1o; filename*2=\" 100%.pdf\"",
        "año 100%.pdf",
    ),
    "sections in another order": ("filename*1=b.pdf; filename*0*=UTF-8''%C3%B1", "ñb.pdf"),
    "sections without a charset": ('filename*0="año"; filename*1=".pdf"', "año.pdf"),
    "sections, with filename": (
        "filename=ano.pdf; filename*0*=UTF-8''a%C3%B1o; filename*1=x",
        "añox",
    ),
    "invalid, with filename": ("filename*=UTF-8''a%zz; filename=a.pdf", "a.pdf"),
    ".NET": ("filename=\"=?utf-8?B?YcOxbw==?=\"; filename*=utf-8''a%C3%B1o", "año"),
    "an encoded word (B)": ('filename="=?UTF-8?B?YcOxby5wZGY=?="', "año.pdf"),
    "an encoded word (Q)": ('filename="=?ISO-8859-1?Q?a=F1o_1.pdf?="', "año 1.pdf"),
    "two encoded words": ('filename="=?utf-8?B?YcM=?= =?utf-8?B?sW8=?="', "año"),
    "an encoded path": ('filename="=?utf-8?Q?C:\\dir\\a=C3=B1o?="', "año"),
    "an encoded word of rot13": ('filename="=?rot13?Q?abc?="', "=?rot13?Q?abc?="),
    "an encoded word with wrong base64": ('filename="=?utf-8?B?a?="', "=?utf-8?B?a?="),
    "an encoded word of wrong UTF-8": ('filename="=?utf-8?Q?=FF?="', "=?utf-8?Q?=FF?="),
    "an encoded word and more": ('filename="=?utf-8?Q?a?=.pdf"', "=?utf-8?Q?a?=.pdf"),
    "a quote within quotes": ('filename="a "good" book.pdf"', 'a "good" book.pdf'),
    "a backslash at the end": ('filename="a.pdf\\"', "unnamed"),
    "255 characters after a path": (f'filename="{"folder/" * 100}{LONG_NAME}"', LONG_NAME),
    "255 characters and control characters": (f'filename="\x01{LONG_NAME}\x02"', LONG_NAME),
}


@pytest.mark.parametrize(("parameters", "filename"), FILENAMES.values(), ids=FILENAMES.keys())
async def test_filename_is_decoded(client: AsyncClient, parameters: str, filename: str) -> None:
    response = await send_form(client, "POST", "/documents", NAME, file_with(parameters))
    assert (response.status_code, response.json()["filename"]) == (201, filename), response.text


INVALID_FILENAMES = {
    "a wrong percent escape": "filename*=UTF-8''a%C3%B.pdf",
    "half a character": "filename*=UTF-8''a%C3.pdf",
    "no charset": "filename*=a.pdf",
    "an unknown charset": "filename*=klingon''a.pdf",
    "a codec that is not a charset": "filename*=zlib''a.pdf",
    "characters beyond ASCII": "filename*=UTF-8''año.pdf",
}


@pytest.mark.parametrize("parameters", INVALID_FILENAMES.values(), ids=INVALID_FILENAMES.keys())
async def test_invalid_extended_filename_returns_422(client: AsyncClient, parameters: str) -> None:
    response = await send_form(client, "POST", "/documents", NAME, file_with(parameters))
    check_field_error(response, "/file", "filename")


async def test_filename_of_256_characters_after_a_path_returns_422(client: AsyncClient) -> None:
    parameters = f'filename="folder/{LONG_NAME}x"'
    response = await send_form(client, "POST", "/documents", NAME, file_with(parameters))
    check_field_error(response, "/file", "string_too_long")


def file_with(parameters: str) -> bytes:
    """Return a part with the field `file` and further parameters of Content-Disposition."""
    return form_part(f'Content-Disposition: form-data; name="file"; {parameters}', content=CONTENT)


def name_in(content_type: str, content: bytes) -> bytes:
    """Return a part with the field `name`."""
    disposition = 'Content-Disposition: form-data; name="name"'
    return form_part(disposition, f"Content-Type: {content_type}", content=content)


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        *(("utf-8", "año €"), ('"UTF-8"', "año"), ("ISO-8859-1", "año"), ("us-ascii", "ano")),
        *(("UTF-16", "日本"), ("utf-16be", "日本"), ("windows-1252", "€"), ("Shift_JIS", "日本")),
        *(("gb18030", "日本€"), ("koi8-r", "жизнь"), ("", "año")),
    ],
)
async def test_text_is_decoded_in_its_charset(client: AsyncClient, charset: str, name: str) -> None:
    content = name.encode(charset.strip('"') or "utf-8")
    part = name_in(f"text/plain; charset={charset}", content)
    response = await send_form(client, "POST", "/documents", part)
    assert (response.status_code, response.json()["name"]) == (201, name)


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", "x;", 'x; a="'])
async def test_text_without_charset_is_utf_8(client: AsyncClient, content_type: str) -> None:
    part = name_in(content_type, "año".encode())
    response = await send_form(client, "POST", "/documents", part)
    assert (response.status_code, response.json()["name"]) == (201, "año")


@pytest.mark.parametrize(
    "charset", ["rot13", "zip", "base64", "utf-7", "idna", "unicode_escape", "../x", "\xff"]
)
async def test_text_in_unknown_charset_returns_422(client: AsyncClient, charset: str) -> None:
    part = name_in(f"text/plain; charset={charset}", b"x")
    response = await send_form(client, "POST", "/documents", part)
    check_field_error(response, "/name", "charset")


@pytest.mark.parametrize(
    ("charset", "content"), [("utf-16", b"abc"), ("us-ascii", b"\xff"), ("utf-16", b"\x00\xd8")]
)
async def test_text_that_is_invalid_in_its_charset_returns_422(
    client: AsyncClient, charset: str, content: bytes
) -> None:
    part = name_in(f"text/plain; charset={charset}", content)
    response = await send_form(client, "POST", "/documents", part)
    check_field_error(response, "/name", "utf8")


@pytest.mark.parametrize("content", [b"x", b"\xff", b"x" * 2000])
@pytest.mark.parametrize("parameters", ["", '; filename=""'])
async def test_file_field_with_content_but_no_filename_returns_422(
    client: AsyncClient, parameters: str, content: bytes
) -> None:
    disposition = f'Content-Disposition: form-data; name="file"{parameters}'
    part = form_part(disposition, content=content)
    response = await send_form(client, "POST", "/documents", NAME, part)
    check_field_error(response, "/file", "not_a_file")
    assert response.json()["errors"][0]["detail"] == "Must be a file with a filename"


async def test_form_of_requests_keeps_the_filename(client: AsyncClient) -> None:
    filename = "a good año.pdf"
    request = requests.Request(
        "POST", "http://x", data={"name": "x"}, files={"file": (filename, CONTENT, "image/*")}
    ).prepare()
    assert isinstance(request.body, bytes)
    headers = {"Content-Type": str(request.headers["Content-Type"])}
    response = await client.post("/documents", content=request.body, headers=headers)
    assert (response.status_code, response.json()["filename"]) == (201, filename)


async def test_form_of_the_email_library_keeps_a_long_filename(client: AsyncClient) -> None:
    filename = f"{'Cien años de soledad ' * 10}.pdf"
    file = EmailMessage(policy=SMTP)
    file.set_content(CONTENT, "application", "pdf", cte="binary")
    file.add_header("Content-Disposition", "form-data", name="file", filename=filename)
    headers, _, content = file.as_bytes().partition(b"\r\n\r\n")
    assert b"filename*1*=" in headers
    response = await send_form(
        client, "POST", "/documents", NAME, form_part(headers, content=content)
    )
    assert (response.status_code, response.json()["filename"]) == (201, filename)


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
async def test_forms_of_curl_get_the_document_or_the_reason(
    database_url: str, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "año.bin"
    path.write_bytes(b"\xff" * 2000)
    async with running_server(DATABASE_URL=database_url, S3_PREFIX=settings.s3_prefix) as (
        _,
        origin,
    ):
        sent = await send_with_curl(origin, f"file=@{path};type=image/*")
        assert (sent["filename"], sent["content_type"]) == ("año.bin", "image/*")
        sent = await send_with_curl(origin, f'file=@{path};filename="C:\\a"')
        assert (sent["filename"], sent["size"]) == ("a", 2000)
        sent = await send_with_curl(origin, f"file=<{path}")
        assert sent["errors"][0]["detail"] == "Must be a file with a filename"
        sent = await send_with_curl(origin, f"file=@{path};encoder=base64")
        assert "Content-Transfer-Encoding" in sent["detail"]
        sent = await send_with_curl(origin, f"file=@{path},{path}")
        assert "send each file as a part" in sent["detail"]


async def send_with_curl(origin: str, field: str) -> Json:
    """Send a form with the name "Thesis" and another field with curl. Return the response."""
    options = ("-sS", f"{origin}/documents", "-F", "name=Thesis", "-F", field)
    response: Json = json.loads(await run_program("curl", *options))
    return response
