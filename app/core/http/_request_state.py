"""State of one request that the layers of this package share, kept in the ASGI scope."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.types import Scope

from app.core.access import Principal
from app.core.db import TransactionSession

if TYPE_CHECKING:
    from app.core.http._idempotency import IdempotentRequest

_SCOPE_KEY: Final = "app.request_state"


@dataclass(slots=True)
class RequestState:
    """Facts about one request. Each is set by one layer and read by the layers inside it.

    Args:
        is_head: Whether the client sent HEAD. The request is then routed like GET, and only the
            headers of the response are sent.
        principal: The sender of the request. None on public routes and before authorization.
        transaction: The transaction in which the endpoint runs, while it runs. None if the endpoint
            does not depend on a transaction and the request has no Idempotency-Key.
        idempotent_request: The Idempotency-Key of the request, with its stored response. None if
            the request does not have the header.
    """

    is_head: bool = False
    principal: Principal | None = None
    transaction: TransactionSession | None = None
    idempotent_request: "IdempotentRequest | None" = None


def request_state(scope: Scope) -> RequestState:
    """Return the state of the request with this ASGI scope. The first call creates it."""
    state: RequestState | None = scope.get(_SCOPE_KEY)
    if state is None:
        state = RequestState()
        scope[_SCOPE_KEY] = state
    return state
