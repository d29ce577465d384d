"""The facts about a request that the layers of this package share, in its ASGI scope."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.types import Scope

from app.core.access import Principal
from app.core.db import TransactionSession

if TYPE_CHECKING:
    from app.core.http._idempotency import IdempotentRequest

_KEY: Final = "app.request_state"


@dataclass(slots=True)
class RequestState:
    """Facts about one request. Each is set by one layer and read by the layers inside it."""

    # The client sent HEAD. Routing treats the request as GET, and the body is not sent.
    is_head: bool = False
    # Set by authorization; None on public routes.
    principal: Principal | None = None
    # Set while a transaction runs: that of an endpoint that needs one, or of an Idempotency-Key.
    transaction: TransactionSession | None = None
    idempotent_request: "IdempotentRequest | None" = None


def request_state(scope: Scope) -> RequestState:
    """Return the state of the request with this scope."""
    state: RequestState | None = scope.get(_KEY)
    if state is None:
        state = RequestState()
        scope[_KEY] = state
    return state
