"""One server process, and clients that go away in the middle of something."""

import asyncio
import socket
import struct
from asyncio import StreamWriter
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from app.documents.upload import PART_SIZE
from tests.core.test_inactivity_timeout import head
from tests.faults.service import POOL, Service, served
from tests.support import database_activity, servers
from tests.support.document_forms import FORM_HEADERS, START_OF_FORM
from tests.support.factories import make_author

GONE = pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


@pytest.fixture(scope="module")
async def database_url(template_url: str) -> AsyncIterator[str]:
    made = await servers.copy_database(template_url, "clients")
    yield made
    await servers.drop_database(made)


@pytest.fixture(scope="module")
async def service(database_url: str) -> AsyncIterator[Service]:
    async with served(database_url, prefix="faults/clients/") as made:
        yield made


async def sent(service: Service, data: str, more: bytes = b"") -> StreamWriter:
    """A connection on which this was sent."""
    where = urlsplit(service.origin)
    _, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.writelines([data.encode(), more])
    await writer.drain()
    return writer


def leave(writer: StreamWriter, *, reset: bool) -> None:
    if reset:
        end: socket.socket = writer.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    writer.close()


@GONE
async def test_clients_are_gone_while_their_queries_run(
    reset: bool, service: Service, database_url: str
) -> None:
    path = f"/authors/{(await make_author(service.client))['id']}"
    other, locking = [await asyncpg.connect(database_url) for _ in range(2)]
    body = '{"name": "x"}'
    changes = (
        f"Host: b\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    async with locking.transaction():
        await locking.execute("LOCK TABLE authors IN ACCESS EXCLUSIVE MODE")
        asked = [f"GET {path} HTTP/1.1\r\nHost: b\r\n\r\n", f"PATCH {path} HTTP/1.1\r\n{changes}"]
        writers = [await sent(service, each) for each in asked * POOL]
        await database_activity.wait_for_query_result(
            POOL, other, database_activity.COUNT_WAITING_FOR_LOCK
        )
        for writer in writers:
            leave(writer, reset=reset)
        assert (await service.client.get("/livez")).status_code == 200
    for connection in (other, locking):
        await connection.close()
    await service.is_well()


FORM = head("/documents", FORM_HEADERS["content-type"], 10**8)
BEGUN = {  # the file, so that there is a record of it
    "in the first part": (FORM, START_OF_FORM),
    "in the third part": (FORM, START_OF_FORM + bytes(2 * PART_SIZE)),
}
POINTS = {"in the head": (FORM[:50], b""), "before the file": (FORM, START_OF_FORM[:40]), **BEGUN}
PENDING = "SELECT count(*) FROM stored_objects WHERE state = 'pending'"


@GONE
async def test_clients_are_gone_in_the_middle_of_an_upload(
    reset: bool, service: Service, database_url: str
) -> None:
    writers = [await sent(service, *point) for point in POINTS.values() for _ in range(2)]
    other = await asyncpg.connect(database_url)
    await database_activity.wait_for_query_result(2 * len(BEGUN), other, PENDING)
    await other.close()
    for writer in writers:
        leave(writer, reset=reset)
    await service.is_well()
