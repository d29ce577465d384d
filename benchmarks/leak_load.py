"""Mixed requests, and clients that disconnect, which must leave nothing behind in a server."""

import asyncio
import json
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final
from uuid import uuid4

from benchmarks.load import LoadJob, run_load
from benchmarks.wire import encode_request

CONNECTIONS: Final = 16
# With these options, closing a socket sends RST, as the end of a client's process may do.
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_BOUNDARY: Final = "boundary"
_FORM_TYPE: Final = f"multipart/form-data; boundary={_BOUNDARY}"
_FORM: Final = (
    f"--{_BOUNDARY}\r\n"
    'Content-Disposition: form-data; name="name"\r\n\r\nA report\r\n'
    f"--{_BOUNDARY}\r\n"
    'Content-Disposition: form-data; name="file"; filename="a.txt"\r\n'
    f"Content-Type: text/plain\r\n\r\n{'x' * 1000}\r\n"
    f"--{_BOUNDARY}--\r\n"
).encode()
_HOST: Final = b"Host: localhost\r\n"
# The beginnings of requests, after which the client disconnects. The last two are complete.
_INCOMPLETE_REQUESTS: Final = (
    b"",
    b"GET /books HTTP/1.1\r\nHo",
    b"POST /authors HTTP/1.1\r\n" + _HOST + b"Content-Type: application/json\r\n"
    b'Content-Length: 1000\r\n\r\n{"name": "A',
    b"POST /documents HTTP/1.1\r\n"
    + _HOST
    + f"Content-Type: {_FORM_TYPE}\r\n".encode()
    + b"Content-Length: 1000000\r\n\r\n"
    + _FORM[:500],
    b"GET /books.csv HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /books?size=100 HTTP/1.1\r\n" + _HOST + b"\r\n",
)


def send_requests(port: int, count: int) -> None:
    """Send a number of mixed requests on several connections, and read the responses."""
    mix = list(_mixed_requests())
    requests = [mix[number % len(mix)] for number in range(count)]
    # Each of these requests has another key, so that its response is stored.
    for number in range(0, count, len(mix)):
        requests[number] = _create_author_with_key()
    run_load(LoadJob(port, requests, CONNECTIONS, seconds=3600, send_once=True))


def _mixed_requests() -> Iterator[bytes]:
    """Yield the requests of the mix: reads, writes, an upload and errors of clients."""
    yield _create_author_with_key()
    for _ in range(6):
        yield encode_request("GET /books?size=5")
        yield encode_request("GET /authors?size=5&count=none")
    yield encode_request("GET /books?q=title&size=1")
    yield encode_request("POST /authors", json.dumps({"name": "Ada"}).encode())
    yield encode_request("POST /documents", _FORM, _FORM_TYPE)
    yield encode_request(f"GET /books/{uuid4()}")  # 404
    yield encode_request("POST /authors", b'{"name": ""}')  # 422
    yield encode_request("DELETE /books")  # 405
    invalid_token = encode_request("GET /users/me").removesuffix(b"\r\n")
    yield invalid_token + b"Authorization: Bearer unknown\r\n\r\n"  # 401


def _create_author_with_key() -> bytes:
    """Return a request with an Idempotency-Key, whose response is stored."""
    body = json.dumps({"name": "Grace"}).encode()
    head, _, _ = encode_request("POST /authors", body).partition(b"\r\n\r\n")
    return head + f"\r\nIdempotency-Key: {uuid4()}\r\n\r\n".encode() + body


def disconnect(port: int, count: int) -> None:
    """Open a number of connections, and close each in the middle of a request or response."""
    asyncio.run(_disconnect(port, range(count)))


async def _disconnect(port: int, numbers: Sequence[int]) -> None:
    await asyncio.gather(
        *(_disconnect_one_by_one(port, numbers[first::CONNECTIONS]) for first in range(CONNECTIONS))
    )


async def _disconnect_one_by_one(port: int, numbers: Sequence[int]) -> None:
    for number in numbers:
        with suppress(OSError):
            await _send_and_disconnect(
                port,
                _INCOMPLETE_REQUESTS[number % len(_INCOMPLETE_REQUESTS)],
                read_response=number % 2 == 0,
                reset=number % 3 == 0,
            )


async def _send_and_disconnect(
    port: int, request: bytes, *, read_response: bool, reset: bool
) -> None:
    """Send the beginning of a request, perhaps read the beginning of a response, and disconnect."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    if read_response:
        with suppress(TimeoutError):
            await asyncio.wait_for(reader.read(100), 0.05)
    if reset:
        client_socket = writer.get_extra_info("socket")
        client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.close()
    await writer.wait_closed()
