"""Cross-origin resource sharing (CORS): web pages of other origins that may use the service.

Browsers let a page read a response only if the response names the origin of the page. Before most
writes, they ask for permission with a preflight request. See https://fetch.spec.whatwg.org/.
"""

from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.http import OriginNotAllowed, problem_response

# For example `[(b"origin", b"https://app.example.com")]`. The names are in lower case.
Headers = list[tuple[bytes, bytes]]

# The headers of our responses that scripts may read, in addition to those that they may always
# read: Cache-Control, Content-Language, Content-Length, Content-Type, Expires, Last-Modified.
EXPOSED_HEADERS: Final = (
    *("Accept", "Accept-Encoding", "Accept-Patch", "Allow", "Content-Disposition", "Data-As-Of"),
    *("Date", "ETag", "Idempotency-Replayed", "Link", "Location", "Retry-After"),
    *("WWW-Authenticate", "X-Request-ID"),
)
ALLOWED_METHODS: Final = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
# The time for which a browser need not repeat a preflight request. Chromium has this maximum.
PREFLIGHT_MAX_AGE: Final = 2 * 3600  # seconds
_EXPOSED_HEADERS_VALUE: Final = ", ".join(EXPOSED_HEADERS).encode()
_REQUESTED_METHOD_HEADER: Final = b"access-control-request-method"


class CorsPolicy:
    """The origins whose pages may use the service, and the headers that tell browsers so.

    The policy does not depend on the path, the method or the headers of a request. Cookies are not
    allowed (`Access-Control-Allow-Credentials`), because the service does not use any.
    """

    def __init__(self, allowed_origins: Collection[str]) -> None:
        """Create the policy. `allowed_origins` are, for example, `["https://app.example.com"]`."""
        self._allowed_origins = frozenset(origin.encode() for origin in allowed_origins)

    def allows(self, request_headers: Headers) -> bool:
        """Return whether the page that sent a request may read the response."""
        return self._find_allowed_origin(request_headers) is not None

    def add_headers(self, request_headers: Headers, response_headers: Headers) -> None:
        """Add the headers with which an allowed page may read a response.

        `Vary: Origin` is added to all responses, so that a cache does not give the response for one
        page to another one.
        """
        _add_to_vary(response_headers)
        origin = self._find_allowed_origin(request_headers)
        if origin is not None:
            response_headers.append((b"access-control-allow-origin", origin))
            response_headers.append((b"access-control-expose-headers", _EXPOSED_HEADERS_VALUE))

    def _find_allowed_origin(self, request_headers: Headers) -> bytes | None:
        """Return the origin of the page that sent a request, or None if it is not allowed."""
        origins = get_header_values(request_headers, b"origin")
        if len(origins) == 1 and origins[0] in self._allowed_origins:
            return origins[0]
        return None


def create_cors_policy(allowed_origins: Collection[str]) -> CorsPolicy | None:
    """Return the policy for these origins (CORS_ORIGINS), or None if there are not any."""
    if not allowed_origins:
        return None
    return CorsPolicy(allowed_origins)


class CorsPreflightMiddleware:
    """Middleware that responds to preflight requests.

    The response states which methods and headers a page may use, or is a problem if its origin is
    not allowed. `RequestContextMiddleware` adds the headers that all responses have.
    """

    def __init__(self, app: ASGIApp, policy: CorsPolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a preflight request. Pass any other request on to the application."""
        if scope["type"] != "http" or not _is_preflight(scope):
            await self._app(scope, receive, send)
            return
        if self._policy.allows(scope["headers"]):
            headers = _build_preflight_headers(scope["headers"])
            response = Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)
        else:
            response = problem_response(Request(scope), OriginNotAllowed())
        await response(scope, receive, send)


def _is_preflight(scope: Scope) -> bool:
    """Return whether a browser asks with this request if a page may send another one."""
    if scope["method"] != "OPTIONS":
        return False
    names = {name for name, _ in scope["headers"]}
    return b"origin" in names and _REQUESTED_METHOD_HEADER in names


def _build_preflight_headers(request_headers: Headers) -> dict[str, str]:
    """Return the headers that permit the request that a preflight request announces.

    Every header is permitted, because a page may send headers of its own libraries, for example for
    tracing. The browser compares the method with the list, and reports one that it lacks.
    """
    headers = {
        "Access-Control-Allow-Methods": ", ".join(ALLOWED_METHODS),
        "Access-Control-Max-Age": str(PREFLIGHT_MAX_AGE),
    }
    requested_headers = get_header_values(request_headers, b"access-control-request-headers")
    if requested_headers:
        # `*` would not include Authorization.
        headers["Access-Control-Allow-Headers"] = b", ".join(requested_headers).decode("latin-1")
    if get_header_values(request_headers, b"access-control-request-private-network"):
        # The page is public, and this service is in a private network.
        headers["Access-Control-Allow-Private-Network"] = "true"
    return headers


def get_header_values(headers: Sequence[tuple[bytes, bytes]], searched_name: bytes) -> list[bytes]:
    """Return the values of all headers with a name, which is in lower case."""
    return [value for name, value in headers if name == searched_name]


def _add_to_vary(response_headers: Headers) -> None:
    """Add `Origin` to the Vary header of a response, which may exist already."""
    for index, (name, value) in enumerate(response_headers):
        if name == b"vary":
            response_headers[index] = (name, value + b", Origin")
            return
    response_headers.append((b"vary", b"Origin"))
