"""Middleware for servers that close a connection whose client is still sending a request body."""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The longest time, and the most bytes, for which the rest of a request body is read.
DRAIN_TIMEOUT_SECONDS: Final = 30.0
MAX_DRAINED_BYTES: Final = 128 * 1024 * 1024


class EarlyResponseMiddleware:
    """Middleware that reads the rest of a request body before it ends an early response.

    A client that sends a large file often reads the response only when it has sent everything. If
    the server closes the connection before that, the operating system resets it, and the client
    loses the response, for example a 415. `HttpProtocol` reads the rest itself, but other servers
    do not.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, and end its response when the request body has ended."""
        if scope["type"] != "http" or not _may_have_unread_body(scope):
            await self._app(scope, receive, send)
            return
        body_has_ended = False

        async def observed_receive() -> Message:
            nonlocal body_has_ended
            message = await receive()
            body_has_ended = not message.get("more_body", False)
            return message

        async def observed_send(message: Message) -> None:
            is_end = message["type"] == "http.response.body" and not message.get("more_body", False)
            if is_end and not body_has_ended:
                # The status has been sent already. A server may close the connection as soon as it
                # has sent as many bytes as the Content-Length of the response says.
                await _read_to_end(observed_receive)
            await send(message)

        await self._app(scope, observed_receive, observed_send)


def _may_have_unread_body(scope: Scope) -> bool:
    """Return whether the client may send a body even if the application does not ask for it."""
    names = {name for name, _ in scope["headers"]}
    # A client that expects to be asked does not send the body after a final response.
    return scope["method"] not in {"GET", "HEAD", "OPTIONS"} and b"expect" not in names


async def _read_to_end(receive: Receive) -> None:
    """Read and discard the rest of a request body, but not for too long."""
    remaining_bytes = MAX_DRAINED_BYTES
    body_has_ended = False
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_TIMEOUT_SECONDS):
            while not body_has_ended and remaining_bytes > 0:
                message = await receive()
                remaining_bytes -= len(message.get("body", b""))
                body_has_ended = not message.get("more_body", False)
