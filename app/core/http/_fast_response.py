"""The response of the HTTP fast path, which is built without the general code of Starlette."""

from http.client import NO_CONTENT, NOT_MODIFIED, OK
from typing import Final

from fastapi import Response
from starlette.types import Receive, Scope, Send

RawHeaders = list[tuple[bytes, bytes]]

_CONTENT_TYPE: Final = (b"content-type", b"application/json")
_WITHOUT_CONTENT_LENGTH: Final = {NO_CONTENT, NOT_MODIFIED}


class FastResponse(Response):
    """A JSON response, equal to `Response(content, status_code, media_type="application/json")`."""

    def __init__(self, content: bytes, status_code: int, other_headers: RawHeaders) -> None:
        """Create the response.

        Args:
            content: The JSON, which is empty if the status does not allow a body, for example 204.
            status_code: The status code.
            other_headers: The headers that follow Content-Length and Content-Type.
        """
        # The constructor of `Response` is not called, because it takes longer.
        self.status_code = status_code
        self.background = None
        self.body = content
        # Like FastAPI, send a Content-Type even if the response has no content.
        self.raw_headers = [_CONTENT_TYPE, *other_headers]
        if status_code >= OK and status_code not in _WITHOUT_CONTENT_LENGTH:
            self.raw_headers.insert(0, (b"content-length", b"%d" % len(content)))

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the response."""
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        await send({"type": "http.response.body", "body": self.body})
