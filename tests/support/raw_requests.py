"""Requests written byte by byte to a connection, so that tests can leave them incomplete."""

import re
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.support.connections import tcp_connection
from tests.support.document_forms import FORM_HEADERS


def post_head(path: str, content_type: str, content_length: int) -> bytes:
    """Return the request line and the headers of a POST request."""
    head = (
        f"POST {path} HTTP/1.1\r\n"
        "Host: test\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Length: {content_length}\r\n\r\n"
    )
    return head.encode()


def upload_head(content_length: int) -> bytes:
    """Return the request line and the headers of a request that creates a document with a file."""
    return post_head("/documents", FORM_HEADERS["content-type"], content_length)


@asynccontextmanager
async def open_request(
    origin: str, first_bytes: bytes
) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    """Open a connection to a server and send the beginning of a request.

    Closes the connection at the end of the block.
    """
    async with tcp_connection(origin) as (reader, writer):
        writer.write(first_bytes)
        await writer.drain()
        yield reader, writer


async def exchange_bytes(origin: str, request: bytes, *, half_close: bool = False) -> bytes:
    """Send bytes to a server. Return its responses once it has closed the connection.

    With `half_close`, the client closes its direction of the connection after the bytes.
    """
    async with tcp_connection(origin) as (reader, writer):
        # The server may respond and close the connection before it has received everything.
        with suppress(ConnectionError):
            writer.write(request)
            await writer.drain()
        if half_close:
            writer.write_eof()
        return await reader.read()


def response_statuses(responses: bytes) -> list[int]:
    """Return the statuses of all responses in the bytes that a server has sent."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", responses)]
