"""A TCP proxy in front of the object store that can delay requests or make them fail."""

import asyncio
import math
import os
import re
from asyncio import Event, StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum

from tests.support.connections import reset_when_closed, tcp_connection, tcp_server

# The method and target of a request: `PUT /bookshelf/documents/1?partNumber=2`.
_REQUEST_LINE = re.compile(rb"([A-Z]+ \S+) HTTP/1\.1\r\n")
_CHUNK_SIZE = 64 * 1024


class ProxyAction(Enum):
    """The treatment of a request by the proxy.

    The last four actions respond with an error. Their values are its HTTP status and S3 code.
    """

    PASS = "forward the request and its response"
    HOLD = "forward the request only after `StoreProxy.release` is set"
    HOLD_RESPONSE = "forward the response only after `StoreProxy.release` is set"
    RESET = "reset the connection instead of forwarding the request"
    DAMAGE = "change bytes of the body before forwarding it"
    REQUIRE_CHECKSUM = "refuse a request without a checksum, as a bucket with Object Lock does"
    # S3 responds with status 200 if an error occurs while it completes a multipart upload.
    INTERNAL_ERROR = "200 InternalError"
    SLOW_DOWN = "503 SlowDown"
    ACCESS_DENIED = "403 AccessDenied"
    NOT_IMPLEMENTED = "501 NotImplemented"


@dataclass(frozen=True)
class ErrorResponse:
    """A response that the proxy sends instead of forwarding the request."""

    status: int
    # The error code of S3. It is empty for the response of another kind of server.
    code: str
    # Further XML elements, for example "<Message>Access Denied</Message>".
    elements: str = ""
    content_type: str = "application/xml"

    def build_body(self) -> str:
        """Return the body of the response."""
        if not self.code:
            return self.elements
        return f"<Error><Code>{self.code}</Code>{self.elements}</Error>"


# The response of Amazon S3 to a part without a checksum, if the bucket has a default retention.
CHECKSUM_REQUIRED = ErrorResponse(
    400,
    "InvalidRequest",
    "<Message>Content-MD5 OR x-amz-checksum- HTTP header is required for Put Part requests with"
    " Object Lock parameters</Message>",
)


class StoreProxy:
    """Proxy that applies a `ProxyAction` to the requests that a test selects.

    It forwards bytes unchanged. The `Host` header still contains the address of the proxy, which
    the client has signed.
    """

    def __init__(self) -> None:
        # The address of the proxy: `http://127.0.0.1:54321`. It is set when the proxy listens.
        self.origin = ""
        self.set_action(ProxyAction.PASS)

    def set_action(
        self,
        action: ProxyAction | ErrorResponse,
        request_pattern: str = "",
        count: float = math.inf,
    ) -> None:
        """Set the action for the requests that arrive from now on, and reset the events.

        The action applies to the first `count` requests whose method and target contain a match of
        the regular expression `request_pattern`. Other requests are forwarded.
        """
        # Set when the action is applied to a request for the first time.
        self.action_reached = Event()
        # A test sets this to continue with the requests or responses that are held.
        self.release = Event()
        # The method and target of each request since the action was set.
        self.request_lines = list[str]()
        self._action = action
        self._remaining_count = count
        self._request_pattern = re.compile(request_pattern)

    async def handle_connection(
        self, client_reader: StreamReader, client_writer: StreamWriter
    ) -> None:
        """Forward the requests of one connection of a client, and their responses."""
        store_origin = os.environ["TEST_S3_ENDPOINT_URL"]
        async with tcp_connection(store_origin) as (store_reader, store_writer):
            action: ProxyAction | ErrorResponse = ProxyAction.PASS

            async def forward_responses() -> None:
                while chunk := await store_reader.read(_CHUNK_SIZE):
                    # The store sends this before it has read the body of the request.
                    is_continue = chunk.startswith(b"HTTP/1.1 100 ")
                    if action is ProxyAction.HOLD_RESPONSE and not is_continue:
                        self.action_reached.set()
                        await self.release.wait()
                    client_writer.write(chunk)
                client_writer.close()

            forwarding_task = asyncio.create_task(forward_responses())
            try:
                while chunk := await client_reader.read(_CHUNK_SIZE):
                    if match := _REQUEST_LINE.match(chunk):
                        action = self._select_action(match[1].decode(), chunk)
                        await self._apply_to_request(action, client_reader, client_writer)
                    if action is ProxyAction.DAMAGE and not chunk.endswith(b"\r\n\r\n"):
                        self.action_reached.set()
                        chunk = chunk[:-1] + bytes([chunk[-1] ^ 1])
                    store_writer.write(chunk)
                    await store_writer.drain()
            finally:
                forwarding_task.cancel()

    def _select_action(self, request_line: str, head: bytes) -> ProxyAction | ErrorResponse:
        """Record a request, and return the action for it. `head` contains its headers."""
        self.request_lines.append(request_line)
        if not self._request_pattern.search(request_line) or self._remaining_count <= 0:
            return ProxyAction.PASS
        if self._action is ProxyAction.REQUIRE_CHECKSUM:
            has_checksum = b"\r\ncontent-md5: " in head.lower()
            return ProxyAction.PASS if has_checksum else CHECKSUM_REQUIRED
        self._remaining_count -= 1
        return self._action

    async def _apply_to_request(
        self, action: ProxyAction | ErrorResponse, reader: StreamReader, writer: StreamWriter
    ) -> None:
        """Apply an action to a request before it is forwarded.

        Raises `ConnectionResetError` if the request must not be forwarded.
        """
        # HOLD_RESPONSE and DAMAGE are applied in `handle_connection`.
        if action in {ProxyAction.PASS, ProxyAction.HOLD_RESPONSE, ProxyAction.DAMAGE}:
            return
        self.action_reached.set()
        if action is ProxyAction.HOLD:
            await self.release.wait()
            return
        if action is ProxyAction.RESET:
            reset_when_closed(writer)
            raise ConnectionResetError
        if isinstance(action, ProxyAction):
            status, error_code = action.value.split()
            action = ErrorResponse(int(status), error_code)
        body = action.build_body()
        head = (
            f"HTTP/1.1 {action.status} Error\r\nContent-Type: {action.content_type}"
            f"\r\nContent-Length: {len(body)}\r\nConnection: close"
        )
        writer.write(f"{head}\r\n\r\n{body}".encode())
        # Read the rest of the request. Otherwise closing the connection would reset it, and the
        # client could lose the response.
        while await reader.read(_CHUNK_SIZE):
            pass
        raise ConnectionResetError


@asynccontextmanager
async def running_store_proxy() -> AsyncIterator[StoreProxy]:
    """Run a proxy in front of the object store of the tests, until the block ends."""
    proxy = StoreProxy()
    async with tcp_server(proxy.handle_connection) as address:
        proxy.origin = f"http://{address}"
        yield proxy
