"""The long-lived objects that this package uses, such as the settings and the database."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from fastapi.requests import HTTPConnection

from app.core.access import Principal
from app.core.caller_limits import CallerLimits
from app.core.db import Database
from app.settings import Settings

# How many bytes the batches may have that are handled at the same time: those of all callers, of
# the clients of a network, and of a user. A batch has at most 8 MiB.
MAX_LARGE_BODY_BYTES: Final = 64 * 1024 * 1024
MAX_LARGE_BODY_BYTES_PER_NETWORK: Final = 32 * 1024 * 1024
MAX_LARGE_BODY_BYTES_PER_USER: Final = 16 * 1024 * 1024

# Looks up the user of a bearer token in the database. Returns None if the token is not valid.
FindPrincipal = Callable[[str], Awaitable[Principal | None]]


def _create_large_body_limits() -> CallerLimits:
    """Create the limits of the memory that this process uses for large bodies, in bytes."""
    return CallerLimits(
        "large request bodies",
        total=MAX_LARGE_BODY_BYTES,
        per_network=MAX_LARGE_BODY_BYTES_PER_NETWORK,
        per_user=MAX_LARGE_BODY_BYTES_PER_USER,
    )


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
    large_body_limits: CallerLimits = field(default_factory=_create_large_body_limits)


def http_resources(request: HTTPConnection) -> HttpResources:
    """Return the resources of the application that handles the request."""
    resources: HttpResources = request.app.state.resources
    return resources
