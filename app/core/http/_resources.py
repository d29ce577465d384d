"""The long-lived objects that this package uses, such as the settings and the database."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fastapi.requests import HTTPConnection

from app.core.access import Principal
from app.core.db import Database
from app.settings import Settings

# Looks up the user of a bearer token in the database. Returns None if the token is not valid.
FindPrincipal = Callable[[Database, str], Awaitable[Principal | None]]


@dataclass(frozen=True, kw_only=True)
class HttpResources:
    """Long-lived objects that all requests of an application share, such as the database.

    `app.resources.Resources` derives from this class and adds, for example, the object store.
    """

    settings: Settings
    database: Database
    find_principal: FindPrincipal
    # The requests with an Idempotency-Key that this process is handling, by the hash of the key.
    idempotent_requests_in_progress: set[bytes] = field(default_factory=set)


def http_resources(request: HTTPConnection) -> HttpResources:
    """Return the resources of the application that handles the request."""
    resources: HttpResources = request.app.state.resources
    return resources
