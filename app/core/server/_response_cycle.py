"""One response of the server to one request, on top of uvicorn's `RequestResponseCycle`."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from uvicorn._types import ASGISendEvent, HTTPResponseStartEvent
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class ResponseTransport:
    """The methods of a transport that a response uses.

    The protocol decides how its connection is closed, so `close` is a method of the protocol.

    The head of a response can be held back until the first part of its body is written, so that
    both are one write to the socket and usually one packet. It is not held back while the
    application waits for something, which may be a client that waits for the head.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        close: Callable[[], None],
    ) -> None:
        """Create the transport of a new connection. `close` closes the connection."""
        self._write_to_connection = transport.write
        self._loop = loop
        self._is_holding_next_write = False
        self._held_bytes = b""
        self.is_closing = transport.is_closing
        self.close = close

    def hold_next_write(self) -> None:
        """Hold back the bytes of the next write until the one after it.

        They are written earlier if the event loop gets to run other code before that.
        """
        self._is_holding_next_write = True

    def write(self, data: bytes) -> None:
        """Write bytes, after those that are held back."""
        if self._is_holding_next_write:
            self._is_holding_next_write = False
            self._held_bytes = data
            self._loop.call_soon(self.flush)
        elif self._held_bytes:
            held_bytes = self._held_bytes
            self._held_bytes = b""
            self._write_to_connection(held_bytes + data)
        else:
            self._write_to_connection(data)

    def flush(self) -> None:
        """Write the bytes that are held back, because the body is late or will not follow."""
        if self._held_bytes:
            self.write(b"")


class ResponseCycle(RequestResponseCycle):
    """Sends a response in the form that the client and the state of the connection require.

    - A response that begins before the whole request body has arrived closes the connection.
      Otherwise, the server would have to read a body of any size before the next request.
    - The head of a response of known length is sent together with the beginning of its body.
    - A client of HTTP/1.0 does not understand chunks. If the length of the response is not known in
      advance, the end of the connection is the end of the response.
    """

    # The server creates this object instead of a transport.
    transport: ResponseTransport  # type: ignore[assignment]
    is_delimited_by_close = False

    def send(self, message: ASGISendEvent) -> Coroutine[Any, Any, None]:
        """Send a part of the response."""
        if not self.response_started:
            if message["type"] == "http.response.start":
                self._prepare_start(message)
        elif self.is_delimited_by_close and message["type"] == "http.response.body":
            # uvicorn requires bodies of exactly this length, but the length is not known.
            self.expected_content_length = len(message["body"])
        # This method does not await anything itself, which saves a coroutine for each message.
        return super().send(message)

    def _prepare_start(self, message: HTTPResponseStartEvent) -> None:
        """Decide how the response ends, and whether the connection ends with it."""
        if self.more_body:
            # uvicorn then adds `Connection: close` to the response.
            self.keep_alive = False
        names = {name.lower() for name, _ in message.get("headers", ())}
        has_length = b"content-length" in names
        if has_length and self.scope["method"] != "HEAD":
            # Streams are not held back, because their first part is rarely ready.
            self.transport.hold_next_write()
        if self.scope["http_version"] == "1.0" and not has_length:
            self.is_delimited_by_close = True
            # uvicorn would chunk the body if this were None.
            self.chunked_encoding = False
