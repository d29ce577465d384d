"""The caller of a request. Limits count all requests of the same caller together."""

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
    network = None
    if request.client is not None:
        network = determine_client_network(request.client.host)
    return Caller(user_id, network)


async def _current_caller(request: Request) -> Caller:
    """Return the caller of a request, as a FastAPI dependency."""
    return identify_caller(request)


# A dependency of endpoints that limit what each caller may do.
CurrentCaller = Annotated[Caller, Depends(_current_caller)]
