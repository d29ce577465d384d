"""A page that is the same for all clients. Caches may store it, but ask whether it is current."""

from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from fastapi import Request, Response

from app.core.http._conditional import not_modified_response

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class CacheablePage:
    """The content of a page, with an ETag that changes with the content and the headers."""

    def __init__(
        self, content: bytes, media_type: str, headers: Mapping[str, str] = _NO_HEADERS
    ) -> None:
        self._content = content
        self._media_type = media_type
        # Some browsers keep their stored headers when the response is 304, so a new header, such as
        # another Content-Security-Policy, needs a new ETag.
        digest = sha256(content + repr(sorted(headers.items())).encode())
        etag = f'"{digest.hexdigest()}"'
        self._headers = {"Cache-Control": "no-cache", "ETag": etag, **headers}

    def respond(self, request: Request) -> Response:
        """Return the page, or a 304 response if the client already has it."""
        response = Response(self._content, headers=self._headers, media_type=self._media_type)
        return not_modified_response(request, response) or response
