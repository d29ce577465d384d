"""Authentication and authorization: find the principal of a request and check its permission."""

from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.requests import HTTPConnection

from app.core.access import ANONYMOUS_CALLER_KINDS, Permission, Principal
from app.core.errors import InvalidToken
from app.core.http._request_state import request_state
from app.core.http._resources import http_resources
from app.core.token_scopes import TokenScope

# The principals of requests without a token, by the value of the setting ANONYMOUS_ACCESS.
_ANONYMOUS_PRINCIPALS: Final = {
    caller_kind: Principal(caller_kind) for caller_kind in ANONYMOUS_CALLER_KINDS
}


async def authorize(
    request: HTTPConnection, permission: Permission, token_scope: TokenScope | None
) -> None:
    """Authenticate the sender of a request, and check their permission and the scope of the token.

    The principal, which is a user or an anonymous caller, is then stored in the request state.
    Requests for the permission "public" are not authenticated, even if they have a token.

    Raises `InvalidToken` if the token is malformed, expired or revoked, `Unauthorized` if the
    permission requires a token and the request does not have one, `Forbidden` if the role of the
    user does not include the permission, and `InsufficientScope` if the token does not have the
    scope.

    Args:
        request: The request, or the request that opens a WebSocket.
        permission: The permission that the sender needs, or "public".
        token_scope: The scope that the token needs, if there is one. None accepts every token.
    """
    if permission == "public":
        return
    principal = await _authenticate(request)
    principal.require(permission)
    if token_scope is not None:
        principal.require_token_scope(token_scope)
    request_state(request.scope).principal = principal


async def _authenticate(request: HTTPConnection) -> Principal:
    """Return the principal who sent a request with `Authorization: Bearer <token>`.

    A request without a token has an anonymous principal. Raises `InvalidToken` if the token is not
    valid, or if the request has several Authorization headers.
    """
    resources = http_resources(request)

    # Read the raw headers, because `request.headers` takes longer.
    authorization_headers = [
        value for name, value in request.scope["headers"] if name == b"authorization"
    ]
    # Ignore credentials of another scheme, such as Basic. They may be for a proxy in front of this
    # server.
    has_token = any(header.lower().startswith(b"bearer") for header in authorization_headers)
    if not has_token:
        return _ANONYMOUS_PRINCIPALS[resources.settings.anonymous_access_level]

    if len(authorization_headers) > 1:
        raise InvalidToken
    scheme, _, token = authorization_headers[0].decode("latin-1").partition(" ")
    if scheme.lower() != "bearer":
        raise InvalidToken
    principal = await resources.find_principal(token.strip(" "))
    if principal is None:
        raise InvalidToken
    return principal


async def _current_principal(request: Request) -> Principal:
    """Return the principal who sent a request. `authorize` has stored it in the request state."""
    principal = request_state(request.scope).principal
    if principal is None:
        raise RuntimeError(f"{request.scope['path']} is a public route, so it has no principal")
    return principal


# A dependency of endpoints: the user who sent the request, or an anonymous principal.
CurrentPrincipal = Annotated[Principal, Depends(_current_principal)]
