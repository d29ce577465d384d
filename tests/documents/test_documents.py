"""Documents and their files over HTTP."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from urllib.parse import unquote, urlsplit
from uuid import UUID

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app.core.db import Database
from app.core.storage import Storage
from app.settings import Settings
from tests.authors.test_authors import NOBODY
from tests.conftest import make_settings
from tests.support.factories import Json, make_document
from tests.support.multipart import (
    FORM_HEADERS,
    download,
    form_body,
    form_field,
    form_file,
    send_form,
    stream_chunks,
)
from tests.support.problems import check_problem, field_error_locations
from tests.support.resources import replace_resources
from tests.support.rows import select_values

FIELDS = [
    *("id", "name", "filename", "content_type", "size", "sha256"),
    *("file_url", "file_url_expires_at", "created_at", "updated_at", "version"),
]
SIGNED = {"file_url", "file_url_expires_at"}
OF_FILE = {"filename", "content_type", "size", "sha256"} | SIGNED
PDF = b"%PDF-2.0\r\n\x00\xff"


def unsigned(document: Json) -> Json:
    """What stays the same however often one asks."""
    return {name: value for name, value in document.items() if name not in SIGNED}


async def stored(storage: Storage, settings: Settings) -> list[str]:
    """The keys of all objects of the test."""
    return [key async for page in storage.list_keys(settings.s3_prefix) for key in page]


async def test_a_created_document_can_be_read_at_its_location(client: AsyncClient) -> None:
    response = await send_form(
        client, "POST", "/documents", form_field("name", "García"), form_file(PDF)
    )
    assert response.status_code == 201
    document = response.json()
    assert list(document) == FIELDS
    assert UUID(document["id"]).version == 7
    assert document["created_at"].endswith("Z")
    assert response.headers["location"] == f"/documents/{document['id']}"
    assert (response.headers["etag"], response.headers["cache-control"]) == ('"1"', "no-store")
    again = await client.get(response.headers["location"])
    assert (again.status_code, unsigned(again.json())) == (200, unsigned(document))
    assert (again.headers["etag"], again.headers["cache-control"]) == ('"1"', "no-store")


async def test_a_document_knows_its_file_exactly(client: AsyncClient) -> None:
    document = await make_document(client, content=PDF, filename="a.pdf")
    assert (document["filename"], document["content_type"]) == ("a.pdf", "application/pdf")
    assert (document["size"], document["sha256"]) == (len(PDF), sha256(PDF).hexdigest())


async def test_a_document_needs_no_file(client: AsyncClient) -> None:
    response = await send_form(client, "POST", "/documents", form_field("name", "Thesis"))
    assert response.status_code == 201
    document = response.json()
    assert {name for name, value in document.items() if value is None} == OF_FILE
    assert (await client.get(response.headers["location"])).json() == document


async def test_a_files_url_gives_its_bytes_to_anybody(client: AsyncClient) -> None:
    document = await make_document(client, content=PDF)
    path = f"/documents/{document['id']}"
    listed = (await client.get("/documents")).json()["items"][0]
    for found in (document, (await client.get(path)).json(), listed):
        response = await download(found["file_url"])
        assert (response.status_code, response.content) == (200, PDF)
        assert response.headers["content-type"] == "application/pdf"


@pytest.mark.parametrize(
    "content_type",
    ["text/html", "image/svg+xml", "text/html; charset=utf-8", "application/xhtml+xml"],
)
async def test_no_browser_shows_a_file_as_a_page_of_the_stores(
    client: AsyncClient, content_type: str
) -> None:
    page = b"<script>alert(1)</script>"
    document = await make_document(
        client, content=page, filename="index.html", content_type=content_type
    )
    response = await download(document["file_url"])
    assert response.content == page
    assert response.headers["content-type"] == content_type
    assert response.headers["content-disposition"].startswith("attachment;")


# What stands between the quotes, and what is kept of it.
FILENAMES: dict[str, tuple[str | bytes, str]] = {
    "plain": ("thesis.pdf", "thesis.pdf"),
    "blanks": (" the thesis .pdf ", " the thesis .pdf "),
    "a quote as browsers write it": ("a%22b.pdf", "a%22b.pdf"),
    "a quote as curl writes it": (r"a\"b.pdf", 'a"b.pdf'),
    "an attempt to add a parameter": (r"a\"; filename=\"b.exe", 'a"; filename="b.exe'),
    "a line break as browsers write it": ("a%0D%0AX-Evil: 1.pdf", "a%0D%0AX-Evil: 1.pdf"),
    "a line break": ("a\r\nX-Evil: 1", '"a'),
    "half a line break": ("a\nX-Evil: 1.pdf", "aX-Evil: 1.pdf"),
    "percent signs": ("100%.pdf%", "100%.pdf%"),
    "semicolons": ("a;b=c;.pdf", "a;b=c;.pdf"),
    "what URLs are made of": ("a+b&c=d?e#f:g@h,i~j!k.pdf", "a+b&c=d?e#f:g@h,i~j!k.pdf"),
    "markup": ("<b>'&amp;'</b>", "b>"),
    "NUL": ("a\x00b.pdf", "ab.pdf"),
    "control characters": ("\x01a\x1b[31m\x7f\x85\tb\u2028\u2029.pdf", "a[31mb.pdf"),
    "nothing but control characters": ("\x01\x02", "unnamed"),
    "a path": ("/etc/passwd", "passwd"),
    "a path upwards": ("../../../etc/passwd", "passwd"),
    "nothing but a path": ("../..", "unnamed"),
    "a path's end": ("thesis/", "unnamed"),
    "a path of Windows": (r"C:\Users\ada\thesis.pdf", "thesis.pdf"),
    "a path of Windows, escaped": (r"C:\\Users\\ada\\thesis.pdf", "thesis.pdf"),
    "a mixed path": (r"a/..\b/..\..\thesis.pdf", "thesis.pdf"),
    "a share": (r"\\server\share\thesis.pdf", "thesis.pdf"),
    "unicode": ("Cien años de soledad 😀.pdf", "Cien años de soledad 😀.pdf"),
    "decomposed": ("Garci\u0301a.pdf", "Garci\u0301a.pdf"),
    "Cyrillic": ("жизнь.pdf", "жизнь.pdf"),
    "RFC 2047": ("=?utf-8?q?a?=.pdf", "=?utf-8?q?a?=.pdf"),
    "RFC 8187": ("UTF-8''a%20b.pdf", "UTF-8''a%20b.pdf"),
}


DISPOSITION = re.compile(  # RFC 6266 and 8187
    r'attachment; filename="([ !#-\[\]-~]+)"; '
    r"filename\*=UTF-8''((?:[A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-F]{2})+)"
)


@pytest.mark.parametrize(("sent", "kept"), FILENAMES.values(), ids=FILENAMES.keys())
async def test_a_filename_is_kept_but_for_what_is_dangerous_in_it(
    client: AsyncClient, sent: str | bytes, kept: str
) -> None:
    response = await send_form(
        client, "POST", "/documents", form_field("name", "x"), form_file(PDF, sent)
    )
    assert (response.status_code, response.json()["filename"]) == (201, kept)
    downloaded = await download(response.json()["file_url"])
    assert (downloaded.status_code, downloaded.content) == (200, PDF)
    disposition = downloaded.headers["content-disposition"]
    found = DISPOSITION.fullmatch(disposition)
    assert found, disposition
    plain, extended = found.groups()
    assert unquote(extended, errors="strict") == kept
    assert len(plain) == len(kept)
    assert all(ours in {theirs, "_"} for ours, theirs in zip(plain, kept, strict=True))


@pytest.mark.parametrize("character", ["x", "é", "😀", "%"])
async def test_a_filename_may_have_255_characters(client: AsyncClient, character: str) -> None:
    longest = character * 255
    response = await send_form(
        client, "POST", "/documents", form_field("name", "x"), form_file(PDF, longest)
    )
    assert (response.status_code, response.json()["filename"]) == (201, longest)
    assert (await download(response.json()["file_url"])).content == PDF
    response = await send_form(
        client, "POST", "/documents", form_field("name", "x"), form_file(PDF, longest + "x")
    )
    assert field_error_locations(response) == [{"pointer": "/file"}]


async def test_the_content_is_behind_a_redirect_that_nobody_keeps(client: AsyncClient) -> None:
    document = await make_document(client, content=PDF)
    response = await client.get(f"/documents/{document['id']}/content")
    assert (response.status_code, response.headers["cache-control"]) == (307, "no-store")
    assert (await download(response.headers["location"])).content == PDF


async def test_there_is_no_content_without_a_file(client: AsyncClient) -> None:
    document = await make_document(client)
    response = await client.get(f"/documents/{document['id']}/content")
    assert check_problem(response, 404, "not-found")["detail"] == "The document has no file"


async def test_a_url_works_for_as_long_as_it_says(client: AsyncClient, settings: Settings) -> None:
    settings.signed_url_ttl = 600
    before = datetime.now(UTC).replace(microsecond=0)
    document = await make_document(client, content=PDF)
    expires = datetime.fromisoformat(document["file_url_expires_at"])
    assert before <= expires - timedelta(seconds=600) <= datetime.now(UTC)
    assert "&X-Amz-Expires=600&" in document["file_url"]


async def test_an_expired_url_is_refused(client: AsyncClient, settings: Settings) -> None:
    settings.signed_url_ttl = 1
    url = (await make_document(client, content=PDF))["file_url"]
    async with asyncio.timeout(5), AsyncClient(trust_env=False) as anybody:
        while (response := await anybody.get(url)).status_code == 200:
            assert response.content == PDF
    assert response.status_code in {400, 403}  # rclone's and Amazon's
    assert "AccessDenied" in response.text


TAMPERED = {
    "to be shown": ("attachment", "inline"),
    "of another type": ("application%2Fpdf", "text%2Fhtml"),
    "of another name": ("thesis.pdf", "thesis.exe"),
    "to live longer": ("X-Amz-Expires=900", "X-Amz-Expires=9000"),
    "of another time": (r"X-Amz-Date=\d{4}", "X-Amz-Date=2099"),
    "without a signature": ("&X-Amz-Signature=.*", ""),
    "with an empty signature": ("X-Amz-Signature=.*", "X-Amz-Signature="),
    "with nothing but the key": (r"\?.*", ""),
}


@pytest.mark.parametrize(("pattern", "other"), TAMPERED.values(), ids=TAMPERED.keys())
async def test_a_url_that_was_changed_is_refused(
    client: AsyncClient, pattern: str, other: str
) -> None:
    url = (await make_document(client, content=PDF))["file_url"]
    changed = re.sub(pattern, other, url)
    assert changed != url
    response = await download(changed)
    assert 400 <= response.status_code < 500
    assert PDF not in response.content


async def test_a_url_is_that_of_one_file_only(client: AsyncClient) -> None:
    mine = (await make_document(client, content=PDF))["file_url"]
    other = (await make_document(client, content=b"secret"))["file_url"]
    assert (await download(mine.replace(key_of(mine), key_of(other)))).status_code == 403


async def test_a_url_is_for_reading_only(client: AsyncClient) -> None:
    url = (await make_document(client, content=PDF))["file_url"]
    async with AsyncClient(trust_env=False) as anybody:
        assert (await anybody.put(url, content=b"other bytes")).status_code == 403
        assert (await anybody.delete(url)).status_code == 403
    assert (await download(url)).content == PDF


def key_of(url: str) -> str:
    """The key in a URL, which begins with the bucket."""
    return urlsplit(url).path.split("/", 2)[2]


@pytest.fixture
def public(app: FastAPI, template_url: str) -> Iterator[str]:
    """Another name of the store, for which the service now signs."""
    endpoint = make_settings(template_url).s3_endpoint_url
    assert endpoint
    # A container's is at localhost or at the address of a bridge; by loopback it is reached too.
    host = urlsplit(endpoint).hostname or ""
    name = endpoint.replace(host, "127.0.0.1" if host == "localhost" else "localhost")
    assert name != endpoint
    storage = Storage(make_settings(template_url, s3_public_endpoint_url=name))
    replace_resources(app, storage=storage)
    yield name
    storage.close()


async def test_a_url_is_signed_for_the_public_endpoint(client: AsyncClient, public: str) -> None:
    document = await make_document(client, content=PDF)
    assert document["file_url"].startswith(f"{public}/")
    assert (await download(document["file_url"])).content == PDF


async def test_the_key_says_nothing_of_the_document(
    client: AsyncClient, storage: Storage, settings: Settings
) -> None:
    document = await make_document(client, "Thesis", PDF)
    [key] = await stored(storage, settings)
    assert key == key_of(document["file_url"])
    assert UUID(key.removeprefix(settings.s3_prefix)) != UUID(document["id"])
    shown = [unsigned(document), (await client.get("/openapi.json")).json()["components"]]
    assert not any(key in str(part) or "'key'" in str(part) for part in shown)


async def test_changing_the_name_keeps_the_file(client: AsyncClient) -> None:
    before = await make_document(client, "Draft", PDF)
    response = await send_form(
        client, "PATCH", f"/documents/{before['id']}", form_field("name", "Thesis")
    )
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    assert (response.json()["name"], response.json()["filename"]) == ("Thesis", "thesis.pdf")
    assert (await download(response.json()["file_url"])).content == PDF
    assert (await download(before["file_url"])).content == PDF


async def test_replacing_the_file_keeps_the_name(client: AsyncClient) -> None:
    before = await make_document(client, "Thesis", PDF)
    parts = form_file(b"other bytes", "other.txt", "text/plain")
    response = await send_form(client, "PATCH", f"/documents/{before['id']}", parts)
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    after = response.json()
    assert (after["name"], after["filename"], after["content_type"], after["size"]) == (
        *("Thesis", "other.txt", "text/plain", 11),
    )
    assert after["sha256"] == sha256(b"other bytes").hexdigest()
    assert (await download(after["file_url"])).content == b"other bytes"


async def test_a_replaced_file_is_gone(
    client: AsyncClient, storage: Storage, settings: Settings, database: Database
) -> None:
    before = await make_document(client, "Thesis", PDF)
    response = await send_form(
        client, "PATCH", f"/documents/{before['id']}", form_file(b"other bytes")
    )
    kept = [key_of(response.json()["file_url"])]
    assert (await download(before["file_url"])).status_code == 404
    assert await stored(storage, settings) == kept != [key_of(before["file_url"])]
    assert (
        await select_values(database, "SELECT key FROM stored_objects WHERE state = 'ready'")
        == kept
    )
    assert await select_values(database, "SELECT count(*) FROM stored_objects") == [1]


async def test_name_and_file_can_change_at_once(client: AsyncClient) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    response = await send_form(
        client, "PATCH", path, form_field("name", "Thesis, 2nd ed."), form_file(PDF)
    )
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    after = response.json()
    assert (after["name"], after["sha256"]) == ("Thesis, 2nd ed.", sha256(PDF).hexdigest())
    assert (await download(after["file_url"])).content == PDF


@pytest.mark.parametrize("parts", [(), (form_file(b"", ""),), (form_field("file", ""),)])
async def test_an_empty_form_changes_nothing(client: AsyncClient, parts: tuple[bytes]) -> None:
    before = await make_document(client, "Thesis", PDF)
    response = await send_form(client, "PATCH", f"/documents/{before['id']}", *parts)
    assert (response.status_code, response.headers["etag"]) == (200, '"1"')
    assert unsigned(response.json()) == unsigned(before)
    assert (await download(response.json()["file_url"])).content == PDF


async def test_a_write_with_a_stale_etag_is_refused(client: AsyncClient) -> None:
    before = await make_document(client, "Thesis", PDF)
    path = f"/documents/{before['id']}"
    stale = {"If-Match": '"7"'}
    for content in (
        form_body(),
        form_body(form_field("name", "x")),
        form_body(form_file(b"other bytes")),
    ):
        response = await client.patch(path, content=content, headers=FORM_HEADERS | stale)
        check_problem(response, 412, "precondition-failed")
    check_problem(await client.delete(path, headers=stale), 412, "precondition-failed")
    assert unsigned((await client.get(path)).json()) == unsigned(before)
    assert (await download(before["file_url"])).content == PDF


async def test_a_write_with_the_current_etag_goes_through(client: AsyncClient) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    content = form_body(form_field("name", "x"), form_file(PDF))
    response = await client.patch(path, content=content, headers=FORM_HEADERS | {"If-Match": '"1"'})
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    assert (await client.delete(path, headers={"If-Match": '"2"'})).status_code == 204


@pytest.mark.parametrize(("condition", "status"), [('"7"', 412), ("*", 404), ("7", 422)])
async def test_nothing_of_an_upload_that_is_in_vain_is_read(
    client: AsyncClient, condition: str, status: int
) -> None:
    key = NOBODY if status == 404 else (await make_document(client))["id"]
    read = []

    async def body() -> AsyncIterator[bytes]:
        read.append("a chunk")
        yield form_body(form_file(PDF))

    headers = FORM_HEADERS | {"If-Match": condition}
    response = await client.patch(f"/documents/{key}", content=body(), headers=headers)
    assert (response.status_code, read) == (status, [])


@pytest.mark.parametrize("held", ['"1"', 'W/"1"', "*"])
async def test_a_reader_that_holds_the_document_gets_304(client: AsyncClient, held: str) -> None:
    path = f"/documents/{(await make_document(client, content=PDF))['id']}"
    response = await client.get(path, headers={"If-None-Match": held})
    assert (response.status_code, response.content) == (304, b"")
    assert (response.headers["etag"], response.headers["cache-control"]) == ('"1"', "no-store")
    assert (await client.get(path, headers={"If-None-Match": '"7"'})).status_code == 200


async def test_a_deleted_document_is_gone_with_its_file(
    client: AsyncClient, storage: Storage, settings: Settings, database: Database
) -> None:
    document = await make_document(client, content=PDF)
    path = f"/documents/{document['id']}"
    response = await client.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    assert (await client.get(path)).status_code == 404
    assert (await client.delete(path)).status_code == 404
    assert (await download(document["file_url"])).status_code == 404
    assert await stored(storage, settings) == []
    assert await select_values(database, "SELECT key FROM stored_objects") == []


async def test_a_document_without_a_file_can_be_deleted(client: AsyncClient) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404


async def test_the_same_file_of_another_document_stays(client: AsyncClient) -> None:
    one, other = await make_document(client, content=PDF), await make_document(client, content=PDF)
    await client.delete(f"/documents/{one['id']}")
    assert (await download(other["file_url"])).content == PDF


async def test_an_unknown_document_is_not_found(client: AsyncClient) -> None:
    path = f"/documents/{NOBODY}"
    for response in (
        await client.get(path),
        await client.get(f"{path}/content"),
        await send_form(client, "PATCH", path, form_field("name", "x")),
        await send_form(client, "PATCH", path),
        await client.delete(path),
    ):
        assert check_problem(response, 404, "not-found")["detail"] == "Document not found"


async def test_what_is_no_id_is_refused(client: AsyncClient) -> None:
    for response in (
        await client.get("/documents/x"),
        await client.get("/documents/x/content"),
        await send_form(client, "PATCH", "/documents/x", form_field("name", "x")),
        await client.delete("/documents/x"),
    ):
        assert field_error_locations(response) == [{"parameter": "id"}]


async def test_an_unknown_parameter_is_refused_before_the_body_is_read(client: AsyncClient) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    for method, where in (("POST", "/documents"), ("PATCH", path)):
        response = await client.request(
            method, where, params={"nmae": "x"}, content=stream_chunks(), headers=FORM_HEADERS
        )
        assert field_error_locations(response) == [{"parameter": "nmae"}]
    for where in ("/documents", path, f"{path}/content"):
        assert field_error_locations(await client.get(where, params={"x": "1"})) == [
            {"parameter": "x"}
        ]


@pytest.fixture
async def library(client: AsyncClient) -> None:
    """A document without a file, and three with."""
    await make_document(client, "Empty")
    await make_document(client, "Middle", b"22", content_type="text/plain")
    await make_document(client, "Large", b"333", content_type="text/plain; charset=utf-8")
    await make_document(client, "Small", b"1", content_type="image/png")


async def names(client: AsyncClient, **parameters: str) -> list[str]:
    response = await client.get("/documents", params=parameters)
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert response.json()["total"] == len(response.json()["items"])
    return [item["name"] for item in response.json()["items"]]


@pytest.mark.parametrize(
    ("content_type", "found"),
    [
        ("text/plain", ["Middle"]),
        ("text/plain; charset=utf-8", ["Large"]),
        ("image/png", ["Small"]),
        ("text/*", []),
        ("text", []),
        ("%", []),
    ],
)
async def test_documents_are_found_by_exactly_their_files_type(
    client: AsyncClient, library: None, content_type: str, found: list[str]
) -> None:
    assert await names(client, content_type=content_type) == found


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("created_at", ["Empty", "Middle", "Large", "Small"]),
        ("name", ["Empty", "Large", "Middle", "Small"]),
        ("-name", ["Small", "Middle", "Large", "Empty"]),
        ("size", ["Small", "Middle", "Large", "Empty"]),
        ("-size", ["Empty", "Large", "Middle", "Small"]),
    ],
)
async def test_documents_are_sorted(
    client: AsyncClient, library: None, sort: str, order: list[str]
) -> None:
    assert await names(client, sort=sort) == order


async def test_documents_are_found_by_the_words_of_their_names(
    client: AsyncClient, library: None
) -> None:
    assert await names(client, q="mid") == ["Middle"]
    assert await names(client, q="thesis") == []  # a filename is no name


async def test_a_listed_document_is_the_document(client: AsyncClient, library: None) -> None:
    for item in (await client.get("/documents")).json()["items"]:
        assert list(item) == FIELDS
        assert (item["file_url"] is None) == (item["size"] is None)
        assert unsigned((await client.get(f"/documents/{item['id']}")).json()) == unsigned(item)
