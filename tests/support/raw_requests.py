"""Requests written byte by byte to a connection, so that tests can leave them incomplete."""

import asyncio
import re
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from tests.support.connections import tcp_connection
from tests.support.multipart import FORM_HEADERS
from tests.support.processes import TIMEOUT_SECONDS


@dataclass
class RawResponse:
    """The first response to a request that was sent byte by byte."""

    status: int
    # The headers by name in lower case.
    headers: dict[str, str]
    body: bytes


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
    return post_head("/documents", FORM_HEADERS["Content-Type"], content_length)


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


async def send_raw_request(
    origin: str, request: bytes, *, has_body: bool = True, tls: ssl.SSLContext | None = None
) -> RawResponse:
    """Send the bytes of a request to a server, and return the first response.

    The response is read up to its Content-Length, so the connection need not be closed. Its status
    is 100 if the server asks for the body first. `has_body` is False for a HEAD request.
    """
    async with asyncio.timeout(TIMEOUT_SECONDS), tcp_connection(origin, tls) as (reader, writer):
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *header_lines = head.rstrip("\r\n").split("\r\n")
        headers = {}
        for line in header_lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body_length = int(headers.get("content-length", "0")) if has_body else 0
        body = await reader.readexactly(body_length)
    return RawResponse(int(status_line.split()[1]), headers, body)


def response_statuses(responses: bytes) -> list[int]:
    """Return the statuses of all responses in the bytes that a server has sent."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", responses)]
