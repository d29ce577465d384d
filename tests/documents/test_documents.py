"""Documents and their files over HTTP."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from urllib.parse import unquote, urlsplit
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from app.core.db import Database
from app.core.storage import Storage
from app.settings import Settings
from tests.support.entity_case import UNKNOWN_ID
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
from tests.support.settings import make_settings
from tests.support.stored_objects import list_keys

FIELDS = [
    *("id", "name", "filename", "content_type", "size", "sha256"),
    *("file_url", "file_url_expires_at", "created_at", "updated_at", "version"),
]
URL_FIELDS = {"file_url", "file_url_expires_at"}
FILE_FIELDS = {"filename", "content_type", "size", "sha256"} | URL_FIELDS
PDF = b"%PDF-2.0\r\n\x00\xff"


def without_url(document: Json) -> Json:
    """Return the fields that are the same in every response."""
    return {name: value for name, value in document.items() if name not in URL_FIELDS}


async def test_created_document_can_be_read_at_its_location(client: AsyncClient) -> None:
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
    second_response = await client.get(response.headers["location"])
    assert (second_response.status_code, without_url(second_response.json())) == (
        200,
        without_url(document),
    )
    assert (second_response.headers["etag"], second_response.headers["cache-control"]) == (
        '"1"',
        "no-store",
    )


async def test_document_describes_its_file(client: AsyncClient) -> None:
    document = await make_document(client, content=PDF, filename="a.pdf")
    assert (document["filename"], document["content_type"]) == ("a.pdf", "application/pdf")
    assert (document["size"], document["sha256"]) == (len(PDF), sha256(PDF).hexdigest())


async def test_document_can_be_created_without_file(client: AsyncClient) -> None:
    response = await send_form(client, "POST", "/documents", form_field("name", "Thesis"))
    assert response.status_code == 201
    document = response.json()
    assert {name for name, value in document.items() if value is None} == FILE_FIELDS
    assert (await client.get(response.headers["location"])).json() == document


async def test_file_url_returns_the_file_without_credentials(client: AsyncClient) -> None:
    document = await make_document(client, content=PDF)
    path = f"/documents/{document['id']}"
    listed = (await client.get("/documents")).json()["items"][0]
    for representation in (document, (await client.get(path)).json(), listed):
        response = await download(representation["file_url"])
        assert (response.status_code, response.content) == (200, PDF)
        assert response.headers["content-type"] == "application/pdf"


@pytest.mark.parametrize(
    "content_type",
    ["text/html", "image/svg+xml", "text/html; charset=utf-8", "application/xhtml+xml"],
)
async def test_file_is_downloaded_as_attachment_whatever_its_type(
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


async def test_downloaded_file_is_not_kept_by_caches(client: AsyncClient) -> None:
    document = await make_document(client, content=b"content")
    file = await download(document["file_url"])
    assert file.headers["cache-control"] == "no-store"


# The text between the quotes of `filename="..."` in the form, and the filename of the document.
FILENAMES: dict[str, tuple[str | bytes, str]] = {
    "plain": ("thesis.pdf", "thesis.pdf"),
    "blanks": (" the thesis .pdf ", " the thesis .pdf "),
    "a quote as browsers write it": ("a%22b.pdf", "a%22b.pdf"),
    "a quote as curl writes it": (r"a\"b.pdf", 'a"b.pdf'),
    "an attempt to add a parameter": (r"a\"; filename=\"b.exe", 'a"; filename="b.exe'),
    "a line break as browsers write it": ("a%0D%0AX-Evil: 1.pdf", "a%0D%0AX-Evil: 1.pdf"),
    "a folded line": ("a\r\n X-Evil: 1.pdf", "a X-Evil: 1.pdf"),
    "percent signs": ("100%.pdf%", "100%.pdf%"),
    "semicolons": ("a;b=c;.pdf", "a;b=c;.pdf"),
    "what URLs are made of": ("a+b&c=d?e#f:g@h,i~j!k.pdf", "a+b&c=d?e#f:g@h,i~j!k.pdf"),
    "markup": ("<b>'&amp;'</b>", "b>"),
    "NUL": ("a\x00b.pdf", "ab.pdf"),
    "control characters": ("\x01a\x1b[31m\x7f\x85\tb\u2028\u2029.pdf", "a[31mb.pdf"),
    "nothing but control characters": ("\x01\x02", "unnamed"),
    "nothing visible": ("/tmp/ \u200b\u3000", "unnamed"),
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


@pytest.mark.parametrize(("sent_filename", "filename"), FILENAMES.values(), ids=FILENAMES.keys())
async def test_filename_loses_folders_and_control_characters(
    client: AsyncClient, sent_filename: str | bytes, filename: str
) -> None:
    response = await send_form(
        client, "POST", "/documents", form_field("name", "x"), form_file(PDF, sent_filename)
    )
    assert (response.status_code, response.json()["filename"]) == (201, filename)
    downloaded = await download(response.json()["file_url"])
    assert (downloaded.status_code, downloaded.content) == (200, PDF)
    disposition = downloaded.headers["content-disposition"]
    match = DISPOSITION.fullmatch(disposition)
    assert match, disposition
    ascii_filename, encoded_filename = match.groups()
    assert unquote(encoded_filename, errors="strict") == filename
    for ascii_character, character in zip(ascii_filename, filename, strict=True):
        assert ascii_character in {character, "_"}


@pytest.mark.parametrize("character", ["x", "é", "😀", "%"])
async def test_filename_has_at_most_255_characters(client: AsyncClient, character: str) -> None:
    longest_filename = character * 255
    response = await send_form(
        client, "POST", "/documents", form_field("name", "x"), form_file(PDF, longest_filename)
    )
    assert (response.status_code, response.json()["filename"]) == (201, longest_filename)
    assert (await download(response.json()["file_url"])).content == PDF
    response = await send_form(
        client,
        "POST",
        "/documents",
        form_field("name", "x"),
        form_file(PDF, longest_filename + "x"),
    )
    assert field_error_locations(response) == [{"pointer": "/file"}]


async def test_content_redirects_to_file_url_and_is_not_cached(client: AsyncClient) -> None:
    document = await make_document(client, content=PDF)
    response = await client.get(f"/documents/{document['id']}/content")
    assert (response.status_code, response.headers["cache-control"]) == (307, "no-store")
    assert (await download(response.headers["location"])).content == PDF


async def test_head_of_content_redirects_to_url_that_allows_head_only(client: AsyncClient) -> None:
    document = await make_document(client, content=PDF)
    redirect = await client.head(f"/documents/{document['id']}/content/")
    assert (redirect.status_code, redirect.headers["cache-control"]) == (307, "no-store")
    async with AsyncClient(trust_env=False) as store_client:
        response = await store_client.head(redirect.headers["location"])
        assert (response.status_code, response.headers["content-length"]) == (200, str(len(PDF)))
        assert response.headers["content-type"] == "application/pdf"
        assert response.headers["content-disposition"].startswith("attachment;")
        assert (await store_client.get(redirect.headers["location"])).status_code == 403


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_content_returns_404_without_document(method: str, client: AsyncClient) -> None:
    response = await client.request(method, f"/documents/{uuid4()}/content")
    assert response.status_code == 404


async def test_content_returns_404_without_file(client: AsyncClient) -> None:
    document = await make_document(client)
    response = await client.get(f"/documents/{document['id']}/content")
    assert check_problem(response, 404, "not-found")["detail"] == "The document has no file"


async def test_file_url_expires_at_the_stated_time(client: AsyncClient, settings: Settings) -> None:
    settings.signed_url_ttl = 600
    before = datetime.now(UTC).replace(microsecond=0)
    document = await make_document(client, content=PDF)
    expires = datetime.fromisoformat(document["file_url_expires_at"])
    assert before <= expires - timedelta(seconds=600) <= datetime.now(UTC)
    assert "&X-Amz-Expires=600&" in document["file_url"]


async def test_expired_file_url_is_refused(client: AsyncClient, settings: Settings) -> None:
    settings.signed_url_ttl = 1
    url = (await make_document(client, content=PDF))["file_url"]
    async with asyncio.timeout(5), AsyncClient(trust_env=False) as store_client:
        while (response := await store_client.get(url)).status_code == 200:
            assert response.content == PDF
    assert response.status_code in {400, 403}  # rclone and Amazon S3 respond differently
    assert "AccessDenied" in response.text


CHANGED_URLS = {
    "inline instead of attachment": ("attachment", "inline"),
    "another content type": ("application%2Fpdf", "text%2Fhtml"),
    "another filename": ("thesis.pdf", "thesis.exe"),
    "a longer lifetime": ("X-Amz-Expires=900", "X-Amz-Expires=9000"),
    "another time": (r"X-Amz-Date=\d{4}", "X-Amz-Date=2099"),
    "no signature": ("&X-Amz-Signature=.*", ""),
    "an empty signature": ("X-Amz-Signature=.*", "X-Amz-Signature="),
    "no query": (r"\?.*", ""),
}


@pytest.mark.parametrize(("pattern", "replacement"), CHANGED_URLS.values(), ids=CHANGED_URLS.keys())
async def test_changed_file_url_is_refused(
    client: AsyncClient, pattern: str, replacement: str
) -> None:
    url = (await make_document(client, content=PDF))["file_url"]
    changed = re.sub(pattern, replacement, url)
    assert changed != url
    response = await download(changed)
    assert 400 <= response.status_code < 500
    assert PDF not in response.content


async def test_file_url_is_valid_for_one_file_only(client: AsyncClient) -> None:
    url = (await make_document(client, content=PDF))["file_url"]
    other_url = (await make_document(client, content=b"secret"))["file_url"]
    assert (await download(url.replace(object_key(url), object_key(other_url)))).status_code == 403


async def test_file_url_allows_only_reading(client: AsyncClient) -> None:
    url = (await make_document(client, content=PDF))["file_url"]
    async with AsyncClient(trust_env=False) as store_client:
        assert (await store_client.put(url, content=b"other bytes")).status_code == 403
        assert (await store_client.delete(url)).status_code == 403
    assert (await download(url)).content == PDF


def object_key(url: str) -> str:
    """Return the key of the object in a URL: `documents/0199` for `http://host/bucket/documents/0199`."""
    return urlsplit(url).path.split("/", 2)[2]


@pytest.fixture
def public_endpoint(app: FastAPI, template_url: str) -> Iterator[str]:
    """Another host name of the store, which the service is configured to use in signed URLs."""
    endpoint = make_settings(template_url).s3_endpoint_url
    assert endpoint
    # A store in a container listens on localhost or on the address of a bridge, and can be reached
    # through the loopback interface as well.
    host = urlsplit(endpoint).hostname or ""
    name = endpoint.replace(host, "127.0.0.1" if host == "localhost" else "localhost")
    assert name != endpoint
    storage = Storage(make_settings(template_url, s3_public_endpoint_url=name))
    replace_resources(app, storage=storage)
    yield name
    storage.close()


async def test_file_url_is_signed_for_the_public_endpoint(
    client: AsyncClient, public_endpoint: str
) -> None:
    document = await make_document(client, content=PDF)
    assert document["file_url"].startswith(f"{public_endpoint}/")
    assert (await download(document["file_url"])).content == PDF


async def test_object_key_is_unrelated_to_the_document_and_not_shown(
    client: AsyncClient, storage: Storage, settings: Settings
) -> None:
    document = await make_document(client, "Thesis", PDF)
    [key] = await list_keys(storage, settings.s3_prefix)
    assert key == object_key(document["file_url"])
    assert UUID(key.removeprefix(settings.s3_prefix)) != UUID(document["id"])
    shown_data = [without_url(document), (await client.get("/openapi.json")).json()["components"]]
    assert not any(key in str(part) or "'key'" in str(part) for part in shown_data)


async def test_renaming_document_keeps_its_file(client: AsyncClient) -> None:
    before = await make_document(client, "Draft", PDF)
    response = await send_form(
        client, "PATCH", f"/documents/{before['id']}", form_field("name", "Thesis")
    )
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    assert (response.json()["name"], response.json()["filename"]) == ("Thesis", "thesis.pdf")
    assert (await download(response.json()["file_url"])).content == PDF
    assert (await download(before["file_url"])).content == PDF


async def test_replacing_file_keeps_the_name(client: AsyncClient) -> None:
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


async def test_replaced_file_is_removed(
    client: AsyncClient, storage: Storage, settings: Settings, database: Database
) -> None:
    before = await make_document(client, "Thesis", PDF)
    response = await send_form(
        client, "PATCH", f"/documents/{before['id']}", form_file(b"other bytes")
    )
    remaining_keys = [object_key(response.json()["file_url"])]
    assert (await download(before["file_url"])).status_code == 404
    assert (
        await list_keys(storage, settings.s3_prefix)
        == remaining_keys
        != [object_key(before["file_url"])]
    )
    assert (
        await select_values(database, "SELECT key FROM stored_objects WHERE state = 'ready'")
        == remaining_keys
    )
    assert await select_values(database, "SELECT count(*) FROM stored_objects") == [1]


async def test_name_and_file_can_be_changed_together(client: AsyncClient) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    response = await send_form(
        client, "PATCH", path, form_field("name", "Thesis, 2nd ed."), form_file(PDF)
    )
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    after = response.json()
    assert (after["name"], after["sha256"]) == ("Thesis, 2nd ed.", sha256(PDF).hexdigest())
    assert (await download(after["file_url"])).content == PDF


@pytest.mark.parametrize("parts", [(), (form_file(b"", ""),), (form_field("file", ""),)])
async def test_empty_form_changes_nothing(client: AsyncClient, parts: tuple[bytes]) -> None:
    before = await make_document(client, "Thesis", PDF)
    response = await send_form(client, "PATCH", f"/documents/{before['id']}", *parts)
    assert (response.status_code, response.headers["etag"]) == (200, '"1"')
    assert without_url(response.json()) == without_url(before)
    assert (await download(response.json()["file_url"])).content == PDF


async def test_write_with_stale_etag_returns_412_and_changes_nothing(client: AsyncClient) -> None:
    before = await make_document(client, "Thesis", PDF)
    path = f"/documents/{before['id']}"
    stale_etag = {"If-Match": '"7"'}
    for content in (
        form_body(),
        form_body(form_field("name", "x")),
        form_body(form_file(b"other bytes")),
    ):
        response = await client.patch(path, content=content, headers=FORM_HEADERS | stale_etag)
        check_problem(response, 412, "precondition-failed")
    check_problem(await client.delete(path, headers=stale_etag), 412, "precondition-failed")
    assert without_url((await client.get(path)).json()) == without_url(before)
    assert (await download(before["file_url"])).content == PDF


async def test_write_with_current_etag_succeeds(client: AsyncClient) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    content = form_body(form_field("name", "x"), form_file(PDF))
    response = await client.patch(path, content=content, headers=FORM_HEADERS | {"If-Match": '"1"'})
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    assert (await client.delete(path, headers={"If-Match": '"2"'})).status_code == 204


@pytest.mark.parametrize(("condition", "status"), [('"7"', 412), ("*", 404), ("7", 422)])
async def test_update_that_fails_its_precondition_does_not_read_the_body(
    client: AsyncClient, condition: str, status: int
) -> None:
    document_id = UNKNOWN_ID
    if status != 404:
        document_id = (await make_document(client))["id"]
    read_chunks = []

    async def body() -> AsyncIterator[bytes]:
        read_chunks.append("a chunk")
        yield form_body(form_file(PDF))

    headers = FORM_HEADERS | {"If-Match": condition}
    response = await client.patch(f"/documents/{document_id}", content=body(), headers=headers)
    assert (response.status_code, read_chunks) == (status, [])


@pytest.mark.parametrize("if_none_match", ['"1"', 'W/"1"', "*"])
async def test_read_with_current_etag_returns_304(client: AsyncClient, if_none_match: str) -> None:
    path = f"/documents/{(await make_document(client, content=PDF))['id']}"
    response = await client.get(path, headers={"If-None-Match": if_none_match})
    assert (response.status_code, response.content) == (304, b"")
    assert (response.headers["etag"], response.headers["cache-control"]) == ('"1"', "no-store")
    assert (await client.get(path, headers={"If-None-Match": '"7"'})).status_code == 200


async def test_deleted_document_is_removed_with_its_file(
    client: AsyncClient, storage: Storage, settings: Settings, database: Database
) -> None:
    document = await make_document(client, content=PDF)
    path = f"/documents/{document['id']}"
    response = await client.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    assert (await client.get(path)).status_code == 404
    assert (await client.delete(path)).status_code == 404
    assert (await download(document["file_url"])).status_code == 404
    assert await list_keys(storage, settings.s3_prefix) == []
    assert await select_values(database, "SELECT key FROM stored_objects") == []


async def test_document_without_file_can_be_deleted(client: AsyncClient) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404


async def test_deleting_document_keeps_equal_file_of_another_document(client: AsyncClient) -> None:
    document = await make_document(client, content=PDF)
    other = await make_document(client, content=PDF)
    await client.delete(f"/documents/{document['id']}")
    assert (await download(other["file_url"])).content == PDF


async def test_unknown_document_returns_404(client: AsyncClient) -> None:
    path = f"/documents/{UNKNOWN_ID}"
    for response in (
        await client.get(path),
        await client.get(f"{path}/content"),
        await send_form(client, "PATCH", path, form_field("name", "x")),
        await send_form(client, "PATCH", path),
        await client.delete(path),
    ):
        assert check_problem(response, 404, "not-found")["detail"] == "Document not found"


async def test_invalid_id_returns_422(client: AsyncClient) -> None:
    for response in (
        await client.get("/documents/x"),
        await client.get("/documents/x/content"),
        await send_form(client, "PATCH", "/documents/x", form_field("name", "x")),
        await client.delete("/documents/x"),
    ):
        assert field_error_locations(response) == [{"parameter": "id"}]


async def test_unknown_parameter_returns_422_before_the_body_is_read(client: AsyncClient) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    for method, target in (("POST", "/documents"), ("PATCH", path)):
        response = await client.request(
            method, target, params={"nmae": "x"}, content=stream_chunks(), headers=FORM_HEADERS
        )
        assert field_error_locations(response) == [{"parameter": "nmae"}]
    for target in ("/documents", path, f"{path}/content"):
        assert field_error_locations(await client.get(target, params={"x": "1"})) == [
            {"parameter": "x"}
        ]


@pytest.fixture
async def four_documents(client: AsyncClient) -> None:
    """Create a document without a file and three with a file."""
    await make_document(client, "Empty")
    await make_document(client, "Middle", b"22", content_type="text/plain")
    await make_document(client, "Large", b"333", content_type="text/plain; charset=utf-8")
    await make_document(client, "Small", b"1", content_type="image/png")


async def list_names(client: AsyncClient, **parameters: str) -> list[str]:
    response = await client.get("/documents", params=parameters)
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert response.json()["total"] == len(response.json()["items"])
    return [item["name"] for item in response.json()["items"]]


@pytest.mark.parametrize(
    ("content_type", "expected_names"),
    [
        ("text/plain", ["Middle"]),
        ("text/plain; charset=utf-8", ["Large"]),
        ("image/png", ["Small"]),
        ("text/*", []),
        ("text", []),
        ("%", []),
    ],
)
async def test_list_can_be_filtered_by_exact_content_type(
    client: AsyncClient, four_documents: None, content_type: str, expected_names: list[str]
) -> None:
    assert await list_names(client, content_type=content_type) == expected_names


@pytest.mark.parametrize(
    ("sort", "expected_names"),
    [
        ("created_at", ["Empty", "Middle", "Large", "Small"]),
        ("name", ["Empty", "Large", "Middle", "Small"]),
        ("-name", ["Small", "Middle", "Large", "Empty"]),
        ("size", ["Small", "Middle", "Large", "Empty"]),
        ("-size", ["Empty", "Large", "Middle", "Small"]),
    ],
)
async def test_list_can_be_sorted(
    client: AsyncClient, four_documents: None, sort: str, expected_names: list[str]
) -> None:
    assert await list_names(client, sort=sort) == expected_names


async def test_search_matches_words_of_the_name(client: AsyncClient, four_documents: None) -> None:
    assert await list_names(client, q="mid") == ["Middle"]
    assert await list_names(client, q="thesis") == []  # the search does not include filenames


async def test_list_contains_the_same_fields_as_the_document(
    client: AsyncClient, four_documents: None
) -> None:
    for item in (await client.get("/documents")).json()["items"]:
        assert list(item) == FIELDS
        assert (item["file_url"] is None) == (item["size"] is None)
        assert without_url((await client.get(f"/documents/{item['id']}")).json()) == without_url(
            item
        )
