"""Multipart forms: which are accepted, and that a refused form leaves nothing in the store."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from itertools import islice
from random import Random

import pytest
from httpx import AsyncClient
from pydantic import ByteSize

from app.core.storage import Storage
from app.settings import Settings
from tests.documents.conftest import ListRemains
from tests.support.factories import make_document
from tests.support.multipart import (
    BOUNDARY,
    FORM_HEADERS,
    download,
    form_body,
    form_field,
    form_file,
    form_part,
    send_form,
    stream_chunks,
)
from tests.support.problems import check_problem, field_error_locations

MIB = 2**20
PART_SIZE = 8 * MIB  # of a multipart upload, in bytes
MAX_FORM_OVERHEAD = 64 * 1024  # bytes of a form without its file
NAME = form_field("name", "Thesis")
CONTENT = b"%PDF-2.0"
FILE = form_file(CONTENT)
NAME_DISPOSITION = 'Content-Disposition: form-data; name="name"'
FILE_DISPOSITION = 'Content-Disposition: form-data; name="file"; filename="a"'
KIND, FORM_KIND, JSON = "multipart/form-data", FORM_HEADERS["Content-Type"], "application/json"


async def test_list_remains_contains_objects_multipart_uploads_and_rows(
    client: AsyncClient, list_remains: ListRemains, storage: Storage, settings: Settings
) -> None:
    await make_document(client, content=CONTENT)
    await storage.start_multipart_upload(f"{settings.s3_prefix}x")
    object_key, upload_key, row_key = await list_remains()
    assert object_key == row_key != upload_key


@pytest.mark.parametrize("parts", [(NAME, FILE), (FILE, NAME)])
async def test_fields_can_be_sent_in_either_order(
    client: AsyncClient, parts: tuple[bytes, ...]
) -> None:
    response = await send_form(client, "POST", "/documents", *parts)
    assert (response.status_code, response.json()["name"]) == (201, "Thesis")
    assert (await download(response.json()["file_url"])).content == CONTENT


INVALID: dict[str, tuple[str, list[bytes]]] = {
    "name twice": ("/name", [NAME, NAME]),
    "name twice, a file between": ("/name", [NAME, FILE, NAME]),
    "file twice": ("/file", [NAME, FILE, FILE]),
    "file twice, once as text": ("/file", [NAME, FILE, form_field("file", "")]),
    "file twice, once empty": ("/file", [NAME, form_file(b"", ""), FILE]),
    "an unknown field": ("/nmae", [NAME, FILE, form_field("nmae", "Thesis")]),
    "an unknown file": ("/files", [NAME, FILE, form_file(CONTENT, name="files")]),
    "a field of the response": ("/id", [FILE, form_field("id", "x"), NAME]),
    "a field with another case": ("/File", [NAME, form_file(CONTENT, name="File")]),
    "a field without a name": ("/", [NAME, FILE, form_field("", "x")]),
    "a field that needs escapes": ("/a~1b~0c", [NAME, FILE, form_field("a/b~c", "x")]),
    "a field like a path": ("/name[0]", [NAME, FILE, form_field("name[0]", "x")]),
    "a name too short": ("/name", [form_field("name", ""), FILE]),
    "a name too long": ("/name", [FILE, form_field("name", "x" * 201)]),
    "a name much too long": ("/name", [FILE, form_field("name", "x" * 1_000_000)]),
    "NUL in the name": ("/name", [FILE, form_field("name", "a\0b")]),
    "invalid UTF-8 in the name": ("/name", [FILE, form_field("name", b"\xff")]),
    "half a character": ("/name", [FILE, form_field("name", "é".encode()[:1])]),
    "a surrogate in the name": ("/name", [FILE, form_field("name", b"\xed\xa0\x80")]),
    "a file for the name": ("/name", [FILE, form_file(b"Thesis", name="name")]),
    "an unknown charset": (
        "/name",
        [form_part(NAME_DISPOSITION, "Content-Type: text/plain; charset=rot13", content=b"x")],
    ),
    "text for the file": ("/file", [NAME, form_field("file", CONTENT)]),
    "bytes without a filename": ("/file", [NAME, form_file(CONTENT, "")]),
    "a filename beyond UTF-8": ("/file", [NAME, form_file(CONTENT, b"\xff")]),
}
invalid = pytest.mark.parametrize(("pointer", "parts"), INVALID.values(), ids=INVALID.keys())


@invalid
async def test_create_with_invalid_field_returns_422_and_creates_nothing(
    client: AsyncClient, list_remains: ListRemains, pointer: str, parts: list[bytes]
) -> None:
    response = await send_form(client, "POST", "/documents", *parts)
    assert field_error_locations(response) == [{"pointer": pointer}]
    assert (await client.get("/documents")).json()["total"] == 0
    assert await list_remains() == []


@invalid
async def test_update_with_invalid_field_returns_422_and_changes_nothing(
    client: AsyncClient, list_remains: ListRemains, pointer: str, parts: list[bytes]
) -> None:
    before = await make_document(client, "Draft", b"as it was")
    remains_before = await list_remains()
    response = await send_form(client, "PATCH", f"/documents/{before['id']}", *parts)
    assert field_error_locations(response) == [{"pointer": pointer}]
    assert (await client.get(f"/documents/{before['id']}")).headers["etag"] == '"1"'
    assert (await download(before["file_url"])).content == b"as it was"
    assert await list_remains() == remains_before


@pytest.mark.parametrize("parts", [(), (FILE,), (form_file(b"", ""),)])
async def test_create_without_name_returns_422(
    client: AsyncClient, list_remains: ListRemains, parts: tuple[bytes, ...]
) -> None:
    response = await send_form(client, "POST", "/documents", *parts)
    assert field_error_locations(response) == [{"pointer": "/name"}]
    assert await list_remains() == []


IDENTITY_ENCODINGS = ["7bit", "8BIT", "binary"]


@pytest.mark.parametrize("encoding", IDENTITY_ENCODINGS)
async def test_identity_transfer_encoding_is_accepted(client: AsyncClient, encoding: str) -> None:
    parts = form_part(FILE_DISPOSITION, f"Content-Transfer-Encoding: {encoding}", content=CONTENT)
    response = await send_form(client, "POST", "/documents", NAME, parts)
    assert (response.status_code, response.json()["size"]) == (201, len(CONTENT))


async def test_file_without_content_type_is_octet_stream(client: AsyncClient) -> None:
    response = await send_form(
        client, "POST", "/documents", NAME, form_part(FILE_DISPOSITION, content=CONTENT)
    )
    assert response.json()["content_type"] == "application/octet-stream"


@pytest.mark.parametrize("file_part", [b"", form_file(b"", ""), form_field("file", "")])
async def test_empty_file_field_creates_document_without_file(
    client: AsyncClient, list_remains: ListRemains, file_part: bytes
) -> None:
    response = await send_form(client, "POST", "/documents", NAME, file_part)
    assert (response.status_code, response.json()["filename"]) == (201, None)
    assert await list_remains() == []


async def test_empty_file_with_filename_is_stored(client: AsyncClient) -> None:
    response = await send_form(client, "POST", "/documents", NAME, form_file(b"", "empty.txt"))
    document = response.json()
    assert (response.status_code, document["filename"], document["size"]) == (201, "empty.txt", 0)
    assert document["sha256"] == sha256(b"").hexdigest()
    downloaded = await download(document["file_url"])
    assert (downloaded.status_code, downloaded.content) == (200, b"")


@pytest.mark.parametrize("name", ["x" * 200, "😀" * 200, " García\t", "\x01a\x7f", "%00+&=\r\n--"])
async def test_name_is_stored_unchanged(client: AsyncClient, name: str) -> None:
    response = await send_form(client, "POST", "/documents", form_field("name", name))
    assert (response.status_code, response.json()["name"]) == (201, name)


@pytest.mark.parametrize("size", [PART_SIZE - 1, PART_SIZE, PART_SIZE + 1, 17 * MIB])
async def test_file_around_part_size_is_stored_unchanged(client: AsyncClient, size: int) -> None:
    content = Random(size).randbytes(size)
    document = await make_document(client, content=content)
    assert (document["size"], document["sha256"]) == (size, sha256(content).hexdigest())
    assert (await download(document["file_url"])).content == content


# File contents that resemble the boundary or parts of it.
ALMOST_BOUNDARIES = [
    *(b"\r", b"\n", b"\r\n", b"-", b"--", b"\r\n-", b"\r\n--", b"\0", b"x", b"\xff"),
    *(b"\r\n--a-boundar", b"\r\n--a-boundarx", b"\r\n--a-boundaryx", b"\r\n--a-boundary-x"),
    *(b"\r\n--a-boundary\rx", b"\r\n--a-boundary\nx", b"x\n--a-boundary--\r\n", b"x--a-boundary--"),
    *(b"\r\n-a-boundary", b"\r\r\n", b"\r\n\r\n", b"\r\n--\r\n--a-boundar"),
]


def split_randomly(content: bytes, random: Random, max_length: int) -> Iterator[bytes]:
    """Yield the content in chunks of random lengths."""
    remaining = iter(content)
    while chunk := bytes(islice(remaining, random.randint(1, max_length))):
        yield chunk


@pytest.mark.parametrize("max_length", [1, 2, 7, 40, 1000])
async def test_form_can_be_split_into_chunks_anywhere(client: AsyncClient, max_length: int) -> None:
    random = Random(max_length)
    content = b"x" + b"".join(random.choices(ALMOST_BOUNDARIES, k=300))
    body = form_body(NAME, form_file(content))
    response = await client.post(
        "/documents",
        content=stream_chunks(*split_randomly(body, random, max_length)),
        headers=FORM_HEADERS,
    )
    assert response.status_code == 201, response.text
    assert response.json()["sha256"] == sha256(content).hexdigest()
    assert (await download(response.json()["file_url"])).content == content


UNSUPPORTED: dict[str, list[tuple[str, str]]] = {
    "no content type": [],
    "an empty content type": [("Content-Type", "")],
    "JSON": [("Content-Type", JSON)],
    "a merge patch": [("Content-Type", "application/merge-patch+json")],
    "an encoded form": [("Content-Type", "application/x-www-form-urlencoded")],
    "another multipart": [("Content-Type", f"multipart/mixed; boundary={BOUNDARY}")],
    "bytes": [("Content-Type", "application/octet-stream")],
    "thousands of parameters": [("Content-Type", f"{FORM_KIND}{'; a=b' * 5000}")],
    "two content types": [("Content-Type", JSON), ("Content-Type", FORM_KIND)],
    "gzip": [("Content-Type", FORM_KIND), ("Content-Encoding", "gzip")],
    "gzip on a second line": [
        ("Content-Type", FORM_KIND),
        ("Content-Encoding", "identity"),
        ("Content-Encoding", "gzip"),
    ],
}


@pytest.mark.parametrize("headers", UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
async def test_body_that_is_not_a_plain_form_returns_415(
    client: AsyncClient, headers: list[tuple[str, str]]
) -> None:
    path = f"/documents/{(await make_document(client))['id']}"
    for method, target in (("POST", "/documents"), ("PATCH", path)):
        response = await client.request(method, target, content=form_body(NAME), headers=headers)
        check_problem(response, 415, "unsupported-media-type")


async def test_repeated_content_type_returns_400(client: AsyncClient) -> None:
    # A proxy may have used either of them.
    headers = [("Content-Type", FORM_KIND), ("Content-Type", JSON)]
    response = await client.post("/documents", content=form_body(NAME), headers=headers)
    check_problem(response, 400, "malformed-request")  # the joined value has an invalid boundary


@pytest.mark.parametrize("encoding", ["", "identity", "Identity"])
async def test_identity_content_encoding_is_accepted(client: AsyncClient, encoding: str) -> None:
    headers = FORM_HEADERS | {"Content-Encoding": encoding}
    response = await client.post("/documents", content=form_body(NAME), headers=headers)
    assert response.status_code == 201


async def test_options_lists_forms_as_patch_format(client: AsyncClient) -> None:
    response = await client.options("/documents/x")
    assert response.headers["accept-patch"] == "multipart/form-data"


class EndlessBody:
    """A request body of 100 MiB that counts the bytes that were read from it."""

    def __init__(self, start: bytes, chunk: bytes) -> None:
        self.bytes_read = 0
        self._start = start
        self._chunk = chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._start
        while self.bytes_read < 100 * MIB:
            self.bytes_read += len(self._chunk)
            yield self._chunk


START_OF_FILE = FILE.removesuffix(CONTENT + b"\r\n")
MANY_FIELDS = b"".join(form_field(f"field-{number}", "x") for number in range(1000))
ENDLESS_BODIES: dict[str, tuple[EndlessBody, int]] = {
    "a file": (EndlessBody(NAME + START_OF_FILE, bytes(64 * 1024)), 413),
    "a file of line ends": (EndlessBody(NAME + START_OF_FILE, b"\r\n" * 32 * 1024), 413),
    "blank lines before the form": (EndlessBody(b"", b"\r\n" * 32 * 1024), 400),
    "a preamble": (EndlessBody(b"", b"\r\n--a-boundarx" * 5000), 400),
    "an epilogue": (EndlessBody(form_body(NAME, FILE), bytes(64 * 1024)), 400),
    "an epilogue of forms": (EndlessBody(form_body(NAME, FILE), form_body(NAME, FILE) * 500), 400),
    "text for the file": (
        EndlessBody(NAME + form_field("file", "").removesuffix(b"\r\n"), bytes(64 * 1024)),
        422,
    ),
    "a folded part header": (
        EndlessBody(FILE + f"--{BOUNDARY}\r\nX: x".encode(), b"\r\n x" * 16 * 1024),
        400,
    ),
    "blanks after a boundary": (EndlessBody(f"--{BOUNDARY}".encode(), b" " * 64 * 1024), 400),
    "a name": (
        EndlessBody(FILE + form_field("name", "").removesuffix(b"\r\n"), bytes(64 * 1024)),
        422,
    ),
    "a part header": (EndlessBody(FILE + f"--{BOUNDARY}\r\nX: ".encode(), b"x" * 64 * 1024), 400),
    "part headers": (EndlessBody(FILE + f"--{BOUNDARY}\r\n".encode(), b"X: x\r\n" * 10_000), 400),
    "unknown fields": (EndlessBody(NAME + FILE, MANY_FIELDS), 422),
    "the same field": (EndlessBody(FILE, NAME * 1000), 422),
}


@pytest.mark.parametrize(("body", "status"), ENDLESS_BODIES.values(), ids=ENDLESS_BODIES.keys())
async def test_endless_body_is_refused_before_much_is_read(
    client: AsyncClient,
    list_remains: ListRemains,
    settings: Settings,
    body: EndlessBody,
    status: int,
) -> None:
    settings.max_upload_size = ByteSize(MIB)
    response = await client.post("/documents", content=aiter(body), headers=FORM_HEADERS)
    assert response.status_code == status, response.text
    assert body.bytes_read <= MIB + 2 * MAX_FORM_OVERHEAD
    assert await list_remains() == []


async def test_form_with_100000_fields_is_refused_at_the_second(
    client: AsyncClient, list_remains: ListRemains
) -> None:
    # The body is in chunks, as from the server. Parts after the second are not parsed.
    body = stream_chunks(NAME + FILE, *[NAME * 500] * 200)
    response = await client.post("/documents", content=body, headers=FORM_HEADERS)
    assert field_error_locations(response) == [{"pointer": "/name"}]
    assert await list_remains() == []
    assert len([chunk async for chunk in body]) == 199


@pytest.mark.parametrize("size", [1000, MIB, PART_SIZE, PART_SIZE + MIB])
async def test_file_above_the_maximum_size_returns_413(
    client: AsyncClient, list_remains: ListRemains, settings: Settings, size: int
) -> None:
    settings.max_upload_size = ByteSize(size)
    path = f"/documents/{(await make_document(client))['id']}"
    for method, target in (("POST", "/documents"), ("PATCH", path)):
        response = await send_form(client, method, target, NAME, form_file(bytes(size + 1)))
        check_problem(response, 413, "payload-too-large")
        assert await list_remains() == []
    response = await send_form(client, "PATCH", path, NAME, form_file(bytes(size)))
    assert (response.status_code, response.json()["size"]) == (200, size)


async def test_body_of_unknown_length_returns_413_when_its_file_is_too_large(
    client: AsyncClient, list_remains: ListRemains, settings: Settings
) -> None:
    settings.max_upload_size = ByteSize(PART_SIZE + MIB)
    body = EndlessBody(NAME + START_OF_FILE, bytes(MIB))
    response = await client.post("/documents", content=aiter(body), headers=FORM_HEADERS)
    check_problem(response, 413, "payload-too-large")
    assert body.bytes_read == PART_SIZE + 2 * MIB  # the first part is already in the store
    assert await list_remains() == []


async def test_body_with_too_large_content_length_is_not_read(
    client: AsyncClient, settings: Settings
) -> None:
    settings.max_upload_size = ByteSize(1000)
    path = f"/documents/{(await make_document(client))['id']}"
    for method, target in (("POST", "/documents"), ("PATCH", path)):
        body = EndlessBody(b"", NAME)
        headers = FORM_HEADERS | {"Content-Length": str(1000 + MAX_FORM_OVERHEAD + 1)}
        response = await client.request(method, target, content=aiter(body), headers=headers)
        check_problem(response, 413, "payload-too-large")
        assert body.bytes_read == 0


async def test_upload_creates_no_temporary_file(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    with pytest.raises(FileNotFoundError):
        tempfile.mkstemp()
    content = bytes(PART_SIZE + MIB)
    document = await make_document(client, content=content)
    assert document["sha256"] == sha256(content).hexdigest()
