"""Clients that disconnect leave no sockets, open files and tasks in a server.

`python -m benchmarks.leaks` sends many more requests, and measures the memory too.
"""

import asyncio
from typing import NamedTuple

import httpx
import psutil
import pytest
from fastapi import FastAPI

from tests.support.connections import reset_when_closed, tcp_connection
from tests.support.multipart import BOUNDARY
from tests.support.processes import poll_until
from tests.support.protocol_server import serving_app
from tests.support.raw_requests import post_head, upload_head

DISCONNECTS = 40
CONCURRENT_DISCONNECTS = 10
LENGTH = 100_000
REQUESTS = {
    "in the head of a request": b"GET /authors HTTP/1.1\r\nHo",
    "in a JSON body": post_head("/authors", "application/json", LENGTH) + b'{"name": "A',
    "in an upload": upload_head(LENGTH) + b"--" + BOUNDARY.encode(),
    "before the response": b"GET /authors HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "in a stream": b"GET /books.csv HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


class Resources(NamedTuple):
    """Numbers of resources that clients of a server may leave behind in its process."""

    sockets: int
    files: int
    tasks: int

    def is_at_most(self, limit: "Resources") -> bool:
        """Return whether no number is greater than the same one of the limit."""
        return all(number <= maximum for number, maximum in zip(self, limit, strict=True))


def count_resources(origin: str) -> Resources:
    """Count the sockets with the port of the server, and the open files and tasks of this process.

    Connections to the database are left out, because they stay open for later requests.
    """
    process = psutil.Process()
    port = httpx.URL(origin).port
    sockets = [
        connection
        for connection in process.net_connections("tcp")
        if port in {address.port for address in (connection.laddr, connection.raddr) if address}
    ]
    return Resources(len(sockets), len(process.open_files()), len(asyncio.all_tasks()))


async def disconnect(origin: str, request: bytes) -> None:
    """Send a request or its beginning, and reset the connection."""
    async with tcp_connection(origin) as (_, writer):
        writer.write(request)
        await writer.drain()
        reset_when_closed(writer)


async def complete_request(origin: str) -> None:
    """Send a request, and read its response until the server closes the connection."""
    async with tcp_connection(origin) as (reader, writer):
        writer.write(
            REQUESTS["before the response"].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )
        assert (await reader.read()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("request_bytes", REQUESTS.values(), ids=REQUESTS)
async def test_disconnected_clients_leave_no_sockets_files_and_tasks(
    app: FastAPI, request_bytes: bytes
) -> None:
    async with serving_app(app) as origin:
        await complete_request(origin)
        before = count_resources(origin)
        for _ in range(DISCONNECTS // CONCURRENT_DISCONNECTS):
            disconnects = [disconnect(origin, request_bytes) for _ in range(CONCURRENT_DISCONNECTS)]
            await asyncio.gather(*disconnects)

        async def is_as_before() -> bool:
            # The connection of the first request may still have been counted.
            return count_resources(origin).is_at_most(before)

        await poll_until(is_as_before)
