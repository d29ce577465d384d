"""The parts of the application that this package needs, as one typed object."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fastapi.requests import HTTPConnection

from app.core.access import Principal
from app.core.db import Database
from app.settings import Settings

# Returns the principal of a bearer token, or None for a token that is not valid.
FindPrincipal = Callable[[Database, str], Awaitable[Principal | None]]


@dataclass(frozen=True, kw_only=True)
class HttpResources:
    """Long-lived objects that requests share. The application extends this class with its own."""

    settings: Settings
    database: Database
    find_principal: FindPrincipal
    # Ids of the requests with an Idempotency-Key that this process is handling.
    idempotent_requests_in_progress: set[bytes] = field(default_factory=set)


def http_resources(request: HTTPConnection) -> HttpResources:
    """Return the resources of the application that handles the request."""
    resources: HttpResources = request.app.state.resources
    return resources
