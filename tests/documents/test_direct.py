"""Uploads that go from the client straight to the store."""

from hashlib import sha256
from random import Random
from typing import Any

import pytest
from httpx import AsyncClient, Response
from pydantic import ByteSize

from app.core.storage import Storage
from app.documents import direct_uploads
from app.settings import Settings
from tests.authors.test_authors import NOBODY
from tests.support.factories import Json, make_document

MIB = 1024 * 1024
CONTENT = Random(3).randbytes(1000)
LARGE = Random(4).randbytes(11 * MIB)


async def announce(client: AsyncClient, document: Json, content: bytes, **more: Any) -> Response:
    body = {"filename": "Äther.bin", "content_type": "text/html", "size": len(content), **more}
    return await client.post(f"/documents/{document['id']}/uploads", json=body)


async def put(upload: Json, content: bytes) -> None:
    """Every part, the last one first."""
    parts, end = upload["parts"], len(content)
    async with AsyncClient() as browser:
        for part in reversed(parts):
            piece = content[end - part["size"] : end]
            end -= part["size"]
            response = await browser.put(part["url"], content=piece)
            assert response.status_code == 200, response.text


async def complete(client: AsyncClient, document: Json, upload: Json) -> Response:
    return await client.post(f"/documents/{document['id']}/uploads/{upload['id']}/complete")


@pytest.fixture
async def document(client: AsyncClient) -> Json:
    return await make_document(client)


@pytest.fixture
async def upload(client: AsyncClient, document: Json) -> Json:
    response = await announce(client, document, CONTENT, sha256=sha256(CONTENT).hexdigest())
    assert response.status_code == 201, response.text
    upload: Json = response.json()
    return upload


async def test_what_was_put_is_the_documents_file(
    client: AsyncClient, document: Json, upload: Json
) -> None:
    await put(upload, CONTENT)
    response = await complete(client, document, upload)
    assert response.status_code == 200, response.text
    assert response.headers["etag"] == '"2"'
    got = response.json()
    assert (got["filename"], got["content_type"]) == ("Äther.bin", "text/html")
    assert (got["size"], got["sha256"]) == (1000, sha256(CONTENT).hexdigest())
    async with AsyncClient() as browser:
        file = await browser.get(got["file_url"])
    assert file.content == CONTENT
    assert file.headers["content-disposition"].startswith("attachment;")


async def test_a_small_file_is_one_part_and_a_large_one_several(
    client: AsyncClient, document: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len((await announce(client, document, LARGE)).json()["parts"]) == 1
    monkeypatch.setattr(direct_uploads, "MIN_PART_SIZE", 5 * MIB)
    upload = (await announce(client, document, LARGE)).json()
    assert [part["size"] for part in upload["parts"]] == [5 * MIB, 5 * MIB, MIB]
    assert [part["number"] for part in upload["parts"]] == [1, 2, 3]
    await put(upload, LARGE)
    got = (await complete(client, document, upload)).json()
    assert got["sha256"] is None  # none was announced, and nobody has computed one
    async with AsyncClient() as browser:
        assert (await browser.get(got["file_url"])).content == LARGE


async def test_the_largest_file_has_no_more_parts_than_a_store_takes(
    client: AsyncClient, document: Json, settings: Settings
) -> None:
    settings.max_upload_size = ByteSize(2**40)
    size = 2**40
    parts = (await announce(client, document, b"", size=size)).json()["parts"]
    assert sum(part["size"] for part in parts) == size
    assert len(parts) <= 1000


async def test_the_location_gives_fresh_urls(
    client: AsyncClient, document: Json, upload: Json
) -> None:
    location = (await announce(client, document, CONTENT)).headers["location"]
    response = await client.get(location)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    again: Json = response.json()
    await put(again, CONTENT)
    assert (await complete(client, document, again)).status_code == 200


async def test_completing_twice_is_completing_once(
    client: AsyncClient, document: Json, upload: Json
) -> None:
    await put(upload, CONTENT)
    first, second = [await complete(client, document, upload) for _ in range(2)]
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.headers["etag"] == second.headers["etag"]


async def test_nobody_changes_the_bytes_afterwards(
    client: AsyncClient, document: Json, upload: Json
) -> None:
    await put(upload, CONTENT)
    got = (await complete(client, document, upload)).json()
    async with AsyncClient() as browser:
        late = await browser.put(upload["parts"][0]["url"], content=b"other bytes")
        assert late.status_code == 404
        assert (await browser.get(got["file_url"])).content == CONTENT


async def test_the_file_that_was_replaced_is_removed(
    client: AsyncClient, upload: Json, document: Json, storage: Storage, settings: Settings
) -> None:
    before = await make_document(client, content=b"old bytes")
    again = (await announce(client, before, CONTENT)).json()
    await put(again, CONTENT)
    assert (await complete(client, before, again)).status_code == 200
    assert [page async for page in storage.list_keys(settings.s3_prefix)] == [
        [f"{settings.s3_prefix}{again['id']}"]
    ]


async def test_an_incomplete_upload_is_not_completed(
    client: AsyncClient, document: Json, upload: Json
) -> None:
    for arrived in (b"", CONTENT[:-1]):
        if arrived:
            async with AsyncClient() as browser:
                await browser.put(upload["parts"][0]["url"], content=arrived)
        response = await complete(client, document, upload)
        assert response.status_code == 409
        assert response.json()["detail"] == (
            f"The upload is incomplete: the store has {len(arrived)} of 1000 bytes"
        )


async def test_a_size_is_a_number_however_it_is_written(
    client: AsyncClient, document: Json
) -> None:
    head = '{"filename": "a.bin", "content_type": "text/html", "size": '
    for size in ("1000.0", "1e3", "1000"):
        response = await client.post(
            f"/documents/{document['id']}/uploads",
            content=f"{head}{size}}}",
            headers={"Content-Type": "application/json"},
        )
        assert response.status_code == 201, response.text
        assert response.json()["parts"][0]["size"] == 1000


async def test_bytes_with_another_hash_are_removed(
    client: AsyncClient, document: Json, upload: Json, storage: Storage, settings: Settings
) -> None:
    await put(upload, CONTENT[::-1])
    response = await complete(client, document, upload)
    assert response.status_code == 409
    assert response.json()["detail"] == (
        "The uploaded file differs from the announced size or SHA-256"
    )
    assert (await complete(client, document, upload)).status_code == 404
    assert [page async for page in storage.list_keys(settings.s3_prefix)] == [[]]
    assert (await client.get(f"/documents/{document['id']}")).json()["file_url"] is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 0),
        ("size", "1"),
        ("size", 1.5),
        ("size", True),
        ("size", 2**63),
        ("sha256", "A" * 64),
        ("sha256", "ab"),
        ("filename", ""),
        ("filename", "x" * 256),
        ("content_type", "pdf"),
        ("content_type", "text/html\r\nX: y"),
        ("key", "documents/of-somebody-else"),
        ("upload_id", "of-somebody-else"),
    ],
)
async def test_a_wrong_announcement_is_refused(
    client: AsyncClient, document: Json, field: str, value: object
) -> None:
    response = await announce(client, document, CONTENT, **{field: value})
    assert response.status_code == 422
    assert [fault["pointer"] for fault in response.json()["errors"]] == [f"/{field}"]


async def test_a_file_above_the_limit_is_413(
    client: AsyncClient, document: Json, settings: Settings
) -> None:
    assert (
        await announce(client, document, b"", size=settings.max_upload_size + 1)
    ).status_code == 413


async def test_an_upload_belongs_to_its_document(client: AsyncClient, upload: Json) -> None:
    other = await make_document(client)
    for path in (f"/documents/{other['id']}", f"/documents/{NOBODY}"):
        assert (await client.get(f"{path}/uploads/{upload['id']}")).status_code == 404
        assert (await client.post(f"{path}/uploads/{upload['id']}/complete")).status_code == 404
    assert (await announce(client, {"id": NOBODY}, CONTENT)).status_code == 404


async def test_a_document_that_is_deleted_meanwhile_takes_the_upload_with_it(
    client: AsyncClient, document: Json, upload: Json
) -> None:
    await put(upload, CONTENT)
    await client.delete(f"/documents/{document['id']}")
    assert (await complete(client, document, upload)).status_code == 404
