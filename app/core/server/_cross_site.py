"""Protection against cross-site request forgery (CSRF): writes that other web pages send.

A page may send some requests to every server without asking for permission (CORS), for example a
form or a file as `multipart/form-data`. It cannot read the response, but the request has its
effect. Browsers add headers to such requests that a page cannot change:

    Sec-Fetch-Site   how the page is related to the service: `same-origin`, `same-site` (for example
                     another port of localhost), `cross-site`, or `none` if a person sent the
                     request, for example from a bookmark. Browsers send it only to URLs of HTTPS
                     and of localhost. See https://www.w3.org/TR/fetch-metadata/.
    Origin           the origin of the page, or `null` if the browser hides it.

Programs other than browsers usually send neither.
"""

from collections.abc import Collection
from typing import Final

from starlette.types import Scope

from app.core.http import OriginNotAllowed
from app.core.server._cors import CorsPolicy, get_header_values
from app.core.token_scopes import SAFE_METHODS

_ALLOWED_RELATIONS: Final = {b"same-origin", b"none"}
# How a Host header may end although browsers leave the default port out of an origin.
_DEFAULT_PORT_SUFFIXES: Final = {"http": b":80", "https": b":443"}


class CrossSiteProtection:
    """Rejects state-changing requests of web pages that are neither our own nor allowed."""

    def __init__(self, allowed_origins: Collection[str]) -> None:
        """Create the protection. `allowed_origins` are, for example, `["https://app.example"]`."""
        self._cors_policy = CorsPolicy(allowed_origins)

    def find_error(self, scope: Scope) -> OriginNotAllowed | None:
        """Return the error with which to reject a request, or None to accept it.

        The request has exactly one Host header, or none if it is one of HTTP/1.0.
        """
        if scope["method"] in SAFE_METHODS or self._cors_policy.allows(scope["headers"]):
            return None
        if _is_sent_by_own_page_or_program(scope):
            return None
        return OriginNotAllowed()


def _is_sent_by_own_page_or_program(scope: Scope) -> bool:
    """Return whether a request comes from a page of the service itself, or from a program."""
    relations = get_header_values(scope["headers"], b"sec-fetch-site")
    if relations:
        return len(relations) == 1 and relations[0] in _ALLOWED_RELATIONS
    # The client is a program or an old browser, or the URL is one of plain HTTP.
    origins = get_header_values(scope["headers"], b"origin")
    host = b"".join(get_header_values(scope["headers"], b"host"))
    return not origins or origins == [_build_own_origin(scope["scheme"], host)]


def _build_own_origin(scheme: str, host: bytes) -> bytes:
    """Return the origin of the service's own pages, such as `b"http://localhost:8000"`.

    The scheme is the one that the client has used, also behind a trusted proxy. `host` is the Host
    header.
    """
    canonical_host = host.lower().removesuffix(_DEFAULT_PORT_SUFFIXES.get(scheme, b""))
    return scheme.encode() + b"://" + canonical_host
