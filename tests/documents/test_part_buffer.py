"""`PartBuffer`: the bytes of one part, and the memory that they take."""

import sys
from collections.abc import AsyncIterator
from hashlib import sha256
from random import Random

import pytest
from httpx import AsyncClient

from app.documents.part_buffer import PartBuffer
from app.documents.upload import MAX_PARTS_IN_FLIGHT, PART_SIZE
from tests.documents.conftest import UseStore
from tests.support.document_forms import END_OF_FORM, START_OF_FORM
from tests.support.multipart import FORM_HEADERS, download
from tests.support.store_proxy import ProxyAction, StoreProxy

pytestmark = pytest.mark.private_database

MIB = 2**20


def test_append_copies_what_fits_and_returns_the_rest() -> None:
    buffer = PartBuffer(10)
    assert bytes(buffer.append(memoryview(b"abcdefgh"))) == b""
    assert bytes(buffer.append(memoryview(b"ijkl"))) == b"kl"
    assert bytes(buffer.append(memoryview(b"kl"))) == b"kl"
    assert buffer.take_bytes() == b"abcdefghij"


def test_buffer_is_full_when_its_capacity_is_reached() -> None:
    buffer = PartBuffer(10)
    buffer.append(memoryview(b"abcdefghi"))
    fullness_before = buffer.is_full
    buffer.append(memoryview(b"j"))
    assert (fullness_before, buffer.is_full) == (False, True)


@pytest.mark.parametrize("preallocate", [False, True])
def test_buffer_that_is_not_full_contains_only_the_appended_bytes(preallocate: bool) -> None:
    buffer = PartBuffer(10, preallocate=preallocate)
    buffer.append(memoryview(b"abc"))
    buffer.append(memoryview(b"def"))
    assert buffer.take_bytes() == b"abcdef"


def test_empty_buffer_has_no_bytes() -> None:
    assert PartBuffer(10).take_bytes() == b""


def test_buffer_of_a_small_file_takes_little_more_memory_than_the_file() -> None:
    buffer = PartBuffer(PART_SIZE)
    for _ in range(16):
        buffer.append(memoryview(bytes(MIB // 16)))
    assert len(buffer.take_bytes()) == MIB
    assert sys.getsizeof(buffer.take_bytes()) < 1.25 * MIB


def test_preallocated_buffer_takes_the_memory_of_its_capacity() -> None:
    buffer = PartBuffer(PART_SIZE, preallocate=True)
    while not buffer.is_full:
        buffer.append(memoryview(bytes(MIB)))
    assert PART_SIZE <= sys.getsizeof(buffer.take_bytes()) < 1.01 * PART_SIZE


async def test_part_that_is_sent_slowly_is_stored_unchanged_while_later_parts_arrive(
    client: AsyncClient, proxy: StoreProxy, use_store: UseStore
) -> None:
    use_store(proxy.origin)
    proxy.set_action(ProxyAction.HOLD, r"partNumber=1\b")
    random = Random(1)
    # One more part than the memory has room for, and a last part that is smaller.
    parts = [random.randbytes(PART_SIZE) for _ in range(MAX_PARTS_IN_FLIGHT + 2)]
    parts.append(random.randbytes(MIB))

    async def stream_form() -> AsyncIterator[bytes]:
        yield START_OF_FORM
        for number, part in enumerate(parts, 1):
            if number == MAX_PARTS_IN_FLIGHT + 2:
                # The service has received all parts for which it has memory.
                await proxy.action_reached.wait()
                proxy.release.set()
            yield part
        yield END_OF_FORM

    response = await client.post("/documents", content=stream_form(), headers=FORM_HEADERS)
    document = response.json()
    content = b"".join(parts)
    assert document["sha256"] == sha256(content).hexdigest()
    assert (await download(document["file_url"])).content == content
