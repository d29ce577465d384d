"""The costs of an upload: statements, calls to the object store, and memory of the server."""

import asyncio
import re
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from httpx import AsyncClient

from app.core.storage._store_threads import MAX_CONCURRENT_PARTS
from app.documents.upload import PART_SIZE
from tests.documents.conftest import UseStore
from tests.support.document_forms import END_OF_FORM, START_OF_FORM
from tests.support.factories import make_document
from tests.support.multipart import FORM_HEADERS
from tests.support.processes import TIMEOUT_SECONDS, peak_memory, running_server
from tests.support.store_proxy import StoreProxy

pytestmark = pytest.mark.private_database
reads_peak_memory = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak is read from /proc"
)

MIB = 2**20


def summarize_store_calls(proxy: StoreProxy) -> list[str]:
    """Return the methods and the names of the parameters of all calls, such as `PUT partNumber`."""
    calls = []
    for request_line in proxy.request_lines:
        method, target = request_line.split()
        parameters = sorted(re.findall(r"[?&](\w+)", target))
        calls.append(" ".join([method, *parameters]))
    return calls


def summarize_statements(statements: Sequence[str]) -> list[str]:
    """Return the tables to which statements write, in order."""
    return re.findall(r"(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)", " ".join(statements))


async def test_small_upload_takes_two_statements_and_one_call_to_the_store(
    client: AsyncClient, proxy: StoreProxy, use_store: UseStore, statements: list[str]
) -> None:
    use_store(proxy.origin)
    await make_document(client, content=bytes(MIB))
    assert summarize_statements(statements) == ["stored_objects", "documents"]
    assert len(statements) == 2
    assert summarize_store_calls(proxy) == ["PUT"]


async def test_large_upload_takes_three_statements_and_one_call_for_each_part(
    client: AsyncClient, proxy: StoreProxy, use_store: UseStore, statements: list[str]
) -> None:
    use_store(proxy.origin)
    await make_document(client, content=bytes(2 * PART_SIZE + 1))
    # The second one records the id of the multipart upload.
    assert summarize_statements(statements) == ["stored_objects", "stored_objects", "documents"]
    assert len(statements) == 3
    assert summarize_store_calls(proxy) == [
        "POST uploads",
        *["PUT partNumber uploadId"] * 3,
        "POST uploadId",
    ]


async def test_small_upload_allocates_no_memory_for_a_whole_part(client: AsyncClient) -> None:
    content = bytes(MIB)
    # The first upload loads the client library of the store.
    await make_document(client, content=content)
    tracemalloc.start()
    try:
        await make_document(client, content=content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < PART_SIZE


async def stream_large_form(part_count: int) -> AsyncIterator[bytes]:
    """Yield a form with a file of this many parts, in chunks of 1 MiB."""
    yield START_OF_FORM
    chunk = bytes(MIB)
    for _ in range(part_count * PART_SIZE // MIB):
        yield chunk
    yield END_OF_FORM


async def measure_memory_growth(database_url: str, *, uploads: int, parts: int) -> float:
    """Return by how many MiB the memory of a new server grows during concurrent uploads."""
    async with (
        running_server(DATABASE_URL=database_url) as (process, origin),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):

        async def upload() -> None:
            form = stream_large_form(parts)
            response = await client.post("/documents", content=form, headers=FORM_HEADERS)
            assert response.status_code == 201

        # The first upload loads the client library of the store.
        await make_document(client, content=b"small")
        peak_before = peak_memory(process)
        async with asyncio.TaskGroup() as group:
            for _ in range(uploads):
                group.create_task(upload())
        return peak_memory(process) - peak_before


@reads_peak_memory
async def test_large_upload_takes_memory_for_only_a_few_parts(database_url: str) -> None:
    # It fills one part while two are sent. There are gaps between them.
    assert await measure_memory_growth(database_url, uploads=1, parts=16) < 48


@reads_peak_memory
async def test_concurrent_uploads_take_memory_for_one_part_each_and_those_being_sent(
    database_url: str,
) -> None:
    parts_in_memory = 6 + MAX_CONCURRENT_PARTS
    growth = await measure_memory_growth(database_url, uploads=6, parts=4)
    assert growth < (parts_in_memory + 4) * PART_SIZE / MIB
