"""The resources of the application that the server package uses."""

from dataclasses import dataclass

from fastapi.requests import HTTPConnection

from app.core.http import HttpResources
from app.core.server._readiness import Readiness


@dataclass(frozen=True, kw_only=True)
class ServerResources(HttpResources):
    """Long-lived objects that requests share, including the check behind `/readyz`."""

    readiness: Readiness


def server_resources(request: HTTPConnection) -> ServerResources:
    """Return the resources of the application that handles the request."""
    resources: ServerResources = request.app.state.resources
    return resources
