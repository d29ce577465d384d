"""The caller of a request, by whom limits recognize the requests that belong together."""

from typing import Annotated

from fastapi import Depends, Request

from app.core.caller_limits import Caller
from app.core.client_network import determine_client_network
from app.core.http._request_state import request_state


def identify_caller(request: Request) -> Caller:
    """Return the user of a request, if it has a valid token, and the network of the client."""
    principal = request_state(request.scope).principal
    user_id = None
    if principal is not None:
        user_id = principal.user_id
    return Caller(user_id, determine_client_network(_get_client_address(request)))


def _get_client_address(request: Request) -> str | None:
    """Return the IP address of the client, or None if it is unknown."""
    if request.client is None:
        return None
    return request.client.host


async def _client_address(request: Request) -> str | None:
    """Return the IP address of the client, as a FastAPI dependency."""
    return _get_client_address(request)


async def _current_caller(request: Request) -> Caller:
    """Return the caller of a request, as a FastAPI dependency."""
    return identify_caller(request)


# A dependency of endpoints that use something of which a caller may have only a part.
CurrentCaller = Annotated[Caller, Depends(_current_caller)]
# A dependency of endpoints: the IP address of the client, or None if it is unknown.
ClientAddress = Annotated[str | None, Depends(_client_address)]
