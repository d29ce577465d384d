"""A page that is the same for all clients. Caches may store it, but ask whether it is current."""

import gzip
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from fastapi import Request, Response

from app.core.http._accept import accepts_gzip
from app.core.http._conditional import not_modified_response

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class CacheablePage:
    """The content of a page, with an ETag that changes with the content and the headers.

    The content is compressed once. Clients that accept gzip get the compressed content, which has
    an ETag of its own, because its bytes are different.
    """

    def __init__(
        self, content: bytes, media_type: str, headers: Mapping[str, str] = _NO_HEADERS
    ) -> None:
        self._content = content
        # The modification time is left out, so that all processes have the same bytes.
        self._compressed_content = gzip.compress(content, mtime=0)
        self._media_type = media_type
        # Some browsers keep their stored headers when the response is 304, so a new header, such as
        # another Content-Security-Policy, needs a new ETag.
        digest = sha256(content + repr(sorted(headers.items())).encode()).hexdigest()
        # A cache must not send compressed content to a client that does not accept it.
        common_headers = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding", **headers}
        self._headers = {**common_headers, "ETag": f'"{digest}"'}
        self._compressed_headers = {
            **common_headers,
            "ETag": f'"{digest}-gzip"',
            "Content-Encoding": "gzip",
        }

    def respond(self, request: Request) -> Response:
        """Return the page, or a 304 response if the client already has it."""
        if accepts_gzip(request):
            content = self._compressed_content
            headers = self._compressed_headers
        else:
            content = self._content
            headers = self._headers
        response = Response(content, headers=headers, media_type=self._media_type)
        return not_modified_response(request, response) or response
