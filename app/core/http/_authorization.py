"""Authentication and authorization: find the principal of a request and check its permission."""

from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.requests import HTTPConnection

from app.core.access import ANONYMOUS_CALLER_KINDS, Permission, Principal
from app.core.errors import InvalidToken
from app.core.http._request_state import request_state
from app.core.http._resources import http_resources

_ANONYMOUS: Final = {caller: Principal(caller) for caller in ANONYMOUS_CALLER_KINDS}


async def authorize(request: HTTPConnection, permission: Permission) -> None:
    """Find out who sends the request and require the permission.

    Raises `InvalidToken` for a token that is malformed, expired or revoked, `Unauthorized` if a
    token is missing, and `Forbidden` if its user's role is too low. A public route does not look
    at the token at all.
    """
    if permission == "public":
        return
    principal = await _authenticate(request)
    principal.require(permission)
    request_state(request.scope).principal = principal


async def _authenticate(request: HTTPConnection) -> Principal:
    # Read from the scope once, because most requests have no such header.
    values = [value for name, value in request.scope["headers"] if name == b"authorization"]
    resources = http_resources(request)
    # Credentials of another scheme, such as Basic, may be meant for a proxy in front.
    if not any(value[:6].lower() == b"bearer" for value in values):
        # The setting is None only until its validator has chosen the default.
        return _ANONYMOUS[resources.settings.anonymous_access or "none"]
    scheme, _, token = values[0].decode("latin-1").partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer":
        raise InvalidToken
    principal = await resources.find_principal(resources.database, token.strip(" "))
    if principal is None:
        raise InvalidToken
    return principal


async def _principal(request: Request) -> Principal:
    principal = request_state(request.scope).principal
    if principal is None:
        raise RuntimeError(f"{request.scope['path']} is public: it has no principal")
    return principal


# The user of the request's token, or the anonymous principal.
CurrentPrincipal = Annotated[Principal, Depends(_principal)]
