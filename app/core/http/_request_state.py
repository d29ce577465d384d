"""State of one request that the layers of this package share, kept in the ASGI scope."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.types import Scope

from app.core.access import Principal
from app.core.db import TransactionSession

if TYPE_CHECKING:
    from app.core.http._idempotent_request import IdempotentRequest

_SCOPE_KEY: Final = "app.request_state"


@dataclass(slots=True)
class RequestState:
    """Data about one request that middleware, routes and endpoints share.

    An outer layer sets each attribute, and the layers inside it read it.

    Args:
        is_head: True if the client sent HEAD. The server then handles the request as a GET, but
            sends only the headers of the response.
        principal: The user who sent the request, or an anonymous caller. None on public routes and
            before authorization.
        transaction: The transaction in which the endpoint runs. None if the endpoint does not need
            a transaction and the request does not have an Idempotency-Key.
        idempotent_request: The Idempotency-Key of the request, and the response that is stored for
            it. None if the request does not have this header.
    """

    is_head: bool = False
    principal: Principal | None = None
    transaction: TransactionSession | None = None
    idempotent_request: "IdempotentRequest | None" = None


def request_state(scope: Scope) -> RequestState:
    """Return the `RequestState` that is kept in the ASGI scope of a request.

    The first call for a request creates it.
    """
    state: RequestState | None = scope.get(_SCOPE_KEY)
    if state is None:
        state = RequestState()
        scope[_SCOPE_KEY] = state
    return state
