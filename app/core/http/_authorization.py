"""Authentication and authorization: find the principal of a request and check its permission."""

from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.requests import HTTPConnection

from app.core.access import ANONYMOUS_CALLER_KINDS, Permission, Principal
from app.core.errors import InvalidToken
from app.core.http._request_state import request_state
from app.core.http._resources import http_resources

# The principals of requests without a token, by the value of the setting ANONYMOUS_ACCESS.
_ANONYMOUS_PRINCIPALS: Final = {
    caller_kind: Principal(caller_kind) for caller_kind in ANONYMOUS_CALLER_KINDS
}


async def authorize(request: HTTPConnection, permission: Permission) -> None:
    """Find the principal of a request and check that it has a permission.

    The principal is stored in the request state. A public route has no principal: its requests are
    not authenticated, even if they have a token.

    Raises `InvalidToken` if the token is malformed, expired or revoked, `Unauthorized` if there is
    no token and one is needed, and `Forbidden` if the role of the user lacks the permission.
    """
    if permission == "public":
        return
    principal = await _authenticate(request)
    principal.require(permission)
    request_state(request.scope).principal = principal


async def _authenticate(request: HTTPConnection) -> Principal:
    """Return the principal of the token in `Authorization: Bearer <token>`.

    A request without a token has an anonymous principal. Raises `InvalidToken` if the token is not
    valid, or if there are several Authorization headers.
    """
    resources = http_resources(request)
    # Reading the raw headers avoids decoding all of them.
    authorization_headers = [
        value for name, value in request.scope["headers"] if name == b"authorization"
    ]
    # Credentials of another scheme, such as Basic, may be meant for a proxy in front of the server.
    has_token = any(header[:6].lower() == b"bearer" for header in authorization_headers)
    if not has_token:
        # A validator of the settings replaces None by the default of the environment.
        return _ANONYMOUS_PRINCIPALS[resources.settings.anonymous_access or "none"]
    scheme, _, token = authorization_headers[0].decode("latin-1").partition(" ")
    if len(authorization_headers) > 1 or scheme.lower() != "bearer":
        raise InvalidToken
    principal = await resources.find_principal(resources.database, token.strip(" "))
    if principal is None:
        raise InvalidToken
    return principal


async def _current_principal(request: Request) -> Principal:
    """Return the principal that `authorize` has stored."""
    principal = request_state(request.scope).principal
    if principal is None:
        raise RuntimeError(f"{request.scope['path']} is a public route, so it has no principal")
    return principal


# A dependency: the user of the token, or an anonymous principal.
CurrentPrincipal = Annotated[Principal, Depends(_current_principal)]
