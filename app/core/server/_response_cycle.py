"""One response of the server to one request, on top of uvicorn's `RequestResponseCycle`."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from uvicorn._types import ASGISendEvent, HTTPResponseStartEvent
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class ResponseTransport:
    """The methods of a transport that a response uses.

    The protocol decides how its connection is closed, so `close` is a method of the protocol.
    """

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


class ResponseCycle(RequestResponseCycle):
    """Sends a response in the form that the client and the state of the connection require.

    - A response that begins before the whole request body has arrived closes the connection.
      Otherwise, the server would have to read a body of any size before the next request.
    - A client of HTTP/1.0 does not understand chunks. If the length of the response is not known in
      advance, the end of the connection is the end of the response.
    """

    is_delimited_by_close = False

    def send(self, message: ASGISendEvent) -> Coroutine[Any, Any, None]:
        """Send a part of the response."""
        if not self.response_started:
            self._prepare_start(message)  # type: ignore[arg-type]
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
        if self.scope["http_version"] == "1.0":
            names = {name.lower() for name, _ in message["headers"]}
            self.is_delimited_by_close = b"content-length" not in names
            if self.is_delimited_by_close:
                # uvicorn would chunk the body if this were None.
                self.chunked_encoding = False
