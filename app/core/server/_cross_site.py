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

# Requests with these methods change nothing.
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_ALLOWED_RELATIONS: Final = {b"same-origin", b"none"}
# How a Host header may end although browsers leave the default port out of an origin.
_DEFAULT_PORT_SUFFIXES: Final = {"http": b":80", "https": b":443"}


class CrossSiteProtection:
    """Rejects state-changing requests of web pages that are neither our own nor allowed."""

    def __init__(self, allowed_origins: Collection[str] = ()) -> None:
        """Create the protection. `allowed_origins` are, for example, `["https://app.example"]`."""
        self._allowed_origins = frozenset(origin.encode() for origin in allowed_origins)

    def find_error(self, scope: Scope) -> OriginNotAllowed | None:
        """Return the error with which to reject a state-changing request, or None to accept it.

        The request has exactly one Host header, or none if it is one of HTTP/1.0.
        """
        values_by_name: dict[bytes, list[bytes]] = {
            b"host": [],
            b"origin": [],
            b"sec-fetch-site": [],
        }
        for name, value in scope["headers"]:
            if name in values_by_name:
                values_by_name[name].append(value)
        origins = values_by_name[b"origin"]
        relations = values_by_name[b"sec-fetch-site"]

        if len(origins) == 1 and origins[0] in self._allowed_origins:
            return None
        if relations:
            is_allowed = len(relations) == 1 and relations[0] in _ALLOWED_RELATIONS
        else:
            # An old browser, a URL of plain HTTP, or not a browser at all.
            host = b"".join(values_by_name[b"host"])
            is_allowed = not origins or origins == [_build_own_origin(scope["scheme"], host)]
        if is_allowed:
            return None
        return OriginNotAllowed()


def _build_own_origin(scheme: str, host: bytes) -> bytes:
    """Return the origin of the service's own pages, such as `b"http://localhost:8000"`.

    The scheme is the one that the client has used, also behind a trusted proxy. `host` is the Host
    header.
    """
    canonical_host = host.lower().removesuffix(_DEFAULT_PORT_SUFFIXES.get(scheme, b""))
    return scheme.encode() + b"://" + canonical_host
