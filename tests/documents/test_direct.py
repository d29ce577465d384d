"""Direct uploads: clients send files to the object store themselves."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random

import asyncpg
import pytest
from httpx import AsyncClient
from pydantic import ByteSize

from app.core.storage import Storage
from app.documents import direct_uploads
from app.settings import Settings
from app.settings._store import MAX_FILE_SIZE
from tests.documents.conftest import ListObjectStates, Sweep
from tests.support.direct_uploads import complete_upload, create_upload, send_parts
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import Json, make_document

MIB = 1024 * 1024
CONTENT = Random(3).randbytes(1000)
LARGE = Random(4).randbytes(11 * MIB)
LET_AN_HOUR_PASS = """
UPDATE stored_objects
SET touched_at = touched_at - interval '59 minutes', expires_at = expires_at - interval '1 hour'
"""


@pytest.fixture
async def document(client: AsyncClient) -> Json:
    return await make_document(client)


@pytest.fixture
async def upload(client: AsyncClient, document: Json) -> Json:
    response = await create_upload(client, document, CONTENT, sha256=sha256(CONTENT).hexdigest())
    assert response.status_code == 201, response.text
    upload: Json = response.json()
    return upload


async def test_completed_upload_becomes_the_file_of_the_document(
    client: AsyncClient, document: Json, upload: Json
) -> None:
    await send_parts(upload, CONTENT)
    response = await complete_upload(client, document, upload)
    assert response.status_code == 200, response.text
    assert response.headers["etag"] == '"2"'
    updated = response.json()
    assert (updated["filename"], updated["content_type"]) == ("Äther.bin", "text/html")
    assert (updated["size"], updated["sha256"]) == (1000, sha256(CONTENT).hexdigest())
    async with AsyncClient() as store_client:
        file = await store_client.get(updated["file_url"])
    assert file.content == CONTENT
    assert file.headers["content-disposition"].startswith("attachment;")


async def test_large_file_is_split_into_parts(
    client: AsyncClient, document: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len((await create_upload(client, document, LARGE)).json()["parts"]) == 1
    monkeypatch.setattr(direct_uploads, "MIN_PART_SIZE", 5 * MIB)
    upload = (await create_upload(client, document, LARGE)).json()
    assert [part["size"] for part in upload["parts"]] == [5 * MIB, 5 * MIB, MIB]
    assert [part["number"] for part in upload["parts"]] == [1, 2, 3]
    await send_parts(upload, LARGE)
    updated = (await complete_upload(client, document, upload)).json()
    assert updated["sha256"] is None  # the client did not send one
    async with AsyncClient() as store_client:
        assert (await store_client.get(updated["file_url"])).content == LARGE


async def test_largest_file_has_at_most_1000_parts_that_s3_allows(
    client: AsyncClient, document: Json, settings: Settings
) -> None:
    size = MAX_FILE_SIZE
    settings.max_upload_size = ByteSize(size)
    settings.max_bytes_per_user = ByteSize(0)
    parts = (await create_upload(client, document, b"", size=size)).json()["parts"]
    assert sum(part["size"] for part in parts) == size
    assert len(parts) <= 1000
    assert max(part["size"] for part in parts) <= 5 * 2**30


async def test_upload_can_be_read_at_its_location_with_working_urls(
    client: AsyncClient, document: Json, upload: Json
) -> None:
    location = (await create_upload(client, document, CONTENT)).headers["location"]
    response = await client.get(location)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    upload_with_new_urls: Json = response.json()
    await send_parts(upload_with_new_urls, CONTENT)
    assert (await complete_upload(client, document, upload_with_new_urls)).status_code == 200


async def test_completing_upload_twice_changes_the_document_once(
    client: AsyncClient, document: Json, upload: Json
) -> None:
    await send_parts(upload, CONTENT)
    first, second = [await complete_upload(client, document, upload) for _ in range(2)]
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.headers["etag"] == second.headers["etag"]


async def test_part_urls_are_invalid_after_completion(
    client: AsyncClient, document: Json, upload: Json
) -> None:
    await send_parts(upload, CONTENT)
    updated = (await complete_upload(client, document, upload)).json()
    async with AsyncClient() as store_client:
        late_response = await store_client.put(upload["parts"][0]["url"], content=CONTENT[::-1])
        assert late_response.status_code == 404
        assert (await store_client.get(updated["file_url"])).content == CONTENT


async def test_completing_upload_removes_the_replaced_file(
    client: AsyncClient, upload: Json, document: Json, storage: Storage, settings: Settings
) -> None:
    document_with_file = await make_document(client, content=b"old bytes")
    new_upload = (await create_upload(client, document_with_file, CONTENT)).json()
    await send_parts(new_upload, CONTENT)
    assert (await complete_upload(client, document_with_file, new_upload)).status_code == 200
    assert [page async for page in storage.list_keys(settings.s3_prefix)] == [
        [f"{settings.s3_prefix}{new_upload['id']}"]
    ]


async def test_completing_incomplete_upload_returns_409(
    client: AsyncClient, document: Json, upload: Json
) -> None:
    for _ in range(2):
        response = await complete_upload(client, document, upload)
        assert response.status_code == 409
        assert response.json()["detail"] == (
            "The upload is incomplete: the store has 0 of 1000 bytes"
        )
    await send_parts(upload, CONTENT)
    assert (await complete_upload(client, document, upload)).status_code == 200


@pytest.mark.parametrize("size", [0, 999, 1001, 10_000])
async def test_store_refuses_part_with_another_size_than_announced(
    client: AsyncClient, document: Json, upload: Json, size: int
) -> None:
    async with AsyncClient() as store_client:
        response = await store_client.put(upload["parts"][0]["url"], content=bytes(size))
    assert response.status_code == 403
    completion = await complete_upload(client, document, upload)
    assert completion.json()["detail"] == "The upload is incomplete: the store has 0 of 1000 bytes"


async def test_store_refuses_part_without_content_length(upload: Json) -> None:
    async def stream_content() -> AsyncIterator[bytes]:
        yield CONTENT

    async with AsyncClient() as store_client:
        response = await store_client.put(upload["parts"][0]["url"], content=stream_content())
    assert response.status_code == 403


async def test_upload_expires_even_if_client_requests_it_every_hour(
    client: AsyncClient,
    document: Json,
    upload: Json,
    outside_connection: asyncpg.Connection,
    sweep: Sweep,
    list_object_states: ListObjectStates,
) -> None:
    path = f"/documents/{document['id']}/uploads/{upload['id']}"
    for hour in range(24):
        response = await client.get(path)
        assert response.status_code == 200, hour
        urls_expire_at = datetime.fromisoformat(response.json()["expires_at"])
        assert urls_expire_at <= datetime.fromisoformat(response.json()["upload_expires_at"])
        await sweep()
        await outside_connection.execute(LET_AN_HOUR_PASS)
    assert (await client.get(path)).status_code == 404
    assert (await complete_upload(client, document, upload)).status_code == 404
    await outside_connection.execute(LET_AN_HOUR_PASS)
    await sweep()
    assert await list_object_states() == []


async def test_urls_of_upload_expire_with_it(
    client: AsyncClient, document: Json, upload: Json, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute(
        "UPDATE stored_objects SET expires_at = now() + interval '10 minutes'"
    )
    path = f"/documents/{document['id']}/uploads/{upload['id']}"
    upload_near_its_end = (await client.get(path)).json()
    expires_at = datetime.fromisoformat(upload_near_its_end["expires_at"])
    assert expires_at <= datetime.now(UTC) + timedelta(minutes=10)
    assert "X-Amz-Expires=599" in upload_near_its_end["parts"][0]["url"]


async def test_upload_of_an_older_release_expires_after_it_is_requested(
    client: AsyncClient, document: Json, upload: Json, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute("UPDATE stored_objects SET expires_at = NULL")
    path = f"/documents/{document['id']}/uploads/{upload['id']}"
    assert (await client.get(path)).status_code == 200
    assert await outside_connection.fetchval("SELECT expires_at FROM stored_objects") is not None


async def test_upload_can_be_completed_again_when_a_crashed_request_has_claimed_it_long_ago(
    client: AsyncClient, document: Json, upload: Json, outside_connection: asyncpg.Connection
) -> None:
    await send_parts(upload, CONTENT)
    for minutes, status in ((1, 409), (-1, 200)):
        await outside_connection.execute(
            "UPDATE stored_objects SET completing_until = now() + $1", timedelta(minutes=minutes)
        )
        assert (await complete_upload(client, document, upload)).status_code == status


async def test_size_can_be_written_as_any_integral_number(
    client: AsyncClient, document: Json
) -> None:
    start_of_body = '{"filename": "a.bin", "content_type": "text/html", "size": '
    for size in ("1000.0", "1e3", "1000"):
        response = await client.post(
            f"/documents/{document['id']}/uploads",
            content=f"{start_of_body}{size}}}",
            headers={"Content-Type": "application/json"},
        )
        assert response.status_code == 201, response.text
        assert response.json()["parts"][0]["size"] == 1000


async def test_file_with_another_hash_is_refused_and_removed(
    client: AsyncClient, document: Json, upload: Json, storage: Storage, settings: Settings
) -> None:
    await send_parts(upload, CONTENT[::-1])
    response = await complete_upload(client, document, upload)
    assert response.status_code == 409
    assert response.json()["detail"] == (
        "The uploaded file differs from the announced size or SHA-256"
    )
    assert (await complete_upload(client, document, upload)).status_code == 404
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
        ("filename", "folder/" + "x" * 256),
        ("content_type", None),
        ("content_type", 5),
        ("key", "documents/another"),
        ("upload_id", "another"),
    ],
)
async def test_invalid_field_of_new_upload_returns_422(
    client: AsyncClient, document: Json, field: str, value: object
) -> None:
    response = await create_upload(client, document, CONTENT, **{field: value})
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [f"/{field}"]


async def test_upload_above_the_maximum_size_returns_413(
    client: AsyncClient, document: Json, settings: Settings
) -> None:
    assert (
        await create_upload(client, document, b"", size=settings.max_upload_size + 1)
    ).status_code == 413


async def test_upload_is_not_found_at_another_document(client: AsyncClient, upload: Json) -> None:
    other = await make_document(client)
    for path in (f"/documents/{other['id']}", f"/documents/{UNKNOWN_ID}"):
        assert (await client.get(f"{path}/uploads/{upload['id']}")).status_code == 404
        assert (await client.post(f"{path}/uploads/{upload['id']}/complete")).status_code == 404
    assert (await create_upload(client, {"id": UNKNOWN_ID}, CONTENT)).status_code == 404


async def test_completing_upload_returns_404_when_document_was_deleted(
    client: AsyncClient, document: Json, upload: Json
) -> None:
    await send_parts(upload, CONTENT)
    await client.delete(f"/documents/{document['id']}")
    assert (await complete_upload(client, document, upload)).status_code == 404
