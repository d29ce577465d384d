"""The HTTP fast path of the server: encodes the head of a response without uvicorn's checks.

For every header, uvicorn searches the name and the value for wrong characters, and compares the
name with those of headers that change how the response is sent. The names are the same in every
response, so each is checked once here. The values are checked all together. uvicorn still sends the
bodies, and heads of an unusual kind: of streams, of HEAD requests, and of responses that end the
connection.

The setting HTTP_FAST_PATH=false switches it off. tests/core/test_fast_response_cycle.py compares
the bytes with those of uvicorn.
"""

from collections.abc import Coroutine
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from uvicorn._types import ASGISendEvent, HTTPResponseStartEvent
from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE

from app.core.server._response_cycle import ResponseCycle

# Headers that change how uvicorn sends a response.
_SPECIAL_NAMES: Final = {b"connection", b"transfer-encoding"}
# The characters that uvicorn refuses in the value of a header (all controls but the tab).
_CONTROL_CHARACTERS: Final = bytes({*range(0x20), 0x7F} - {ord("\t")})
_CONTROL_CHARACTERS_OF_A_LINE: Final = len("\r\n")


class FastResponseCycle(ResponseCycle):
    """Sends a response as `ResponseCycle` does, but encodes the heads of most responses itself."""

    def send(self, message: ASGISendEvent) -> Coroutine[Any, Any, None]:
        """Send a part of the response."""
        if message["type"] == "http.response.start" and self._can_send_immediately():
            head = _encode_head(message, self.default_headers)
            if head is not None:
                return self._send_head(*head)
        return super().send(message)

    def _can_send_immediately(self) -> bool:
        """Return whether the head of a response can be sent, and does not end the connection."""
        return (
            self.keep_alive
            and not (self.response_started or self.more_body)
            and not (self.disconnected or self.flow.write_paused)
            and self.scope["method"] != "HEAD"
        )

    async def _send_head(self, head: bytes, content_length: int) -> None:
        """Send an encoded head, together with the beginning of the body."""
        # uvicorn's class reads these attributes when it sends the body.
        self.response_started = True
        self.waiting_for_100_continue = False
        self.chunked_encoding = False
        self.expected_content_length = content_length
        self.transport.hold_next_write()
        self.transport.write(head)


def _encode_head(
    message: HTTPResponseStartEvent, default_headers: list[tuple[bytes, bytes]]
) -> tuple[bytes, int] | None:
    """Return the encoded head of a response and its Content-Length, or None to let uvicorn do it.

    `default_headers` are the headers that the server adds to all responses.
    """
    content_length = None
    parts = [STATUS_LINE[message["status"]]]
    for name, value in chain(default_headers, message.get("headers", ())):
        encoded_name = _encode_name(name)
        if encoded_name is None:
            return None
        if name == b"content-length" and content_length is None:
            if not value.isdigit():
                return None
            content_length = int(value)
        parts += (encoded_name, value, b"\r\n")
    if content_length is None:
        return None
    parts.append(b"\r\n")
    head = b"".join(parts)

    line_count = (len(parts) - 2) // 3 + 2
    control_character_count = len(head) - len(head.translate(None, _CONTROL_CHARACTERS))
    if control_character_count != line_count * _CONTROL_CHARACTERS_OF_A_LINE:
        return None
    return head, content_length


@lru_cache(maxsize=256)
def _encode_name(name: bytes) -> bytes | None:
    """Return the beginning of a header line, for example `b"etag: "`.

    Returns None if the name is wrong, or that of a header which changes how a response is sent.
    """
    if name in _SPECIAL_NAMES or name != name.lower() or HEADER_RE.search(name):
        return None
    return name + b": "
