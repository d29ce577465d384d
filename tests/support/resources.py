"""Replace resources of an application for a test, and add routes to it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, FastAPI

from app.core.http import ForeignRouter
from app.core.server import Readiness, Shutdown
from app.resources import Resources
from app.tables import REVISION


def get_resources(app: FastAPI) -> Resources:
    """Return the resources that an application uses."""
    resources: Resources = app.state.resources
    return resources


def replace_resources(app: FastAPI, **changes: Any) -> None:
    """Let an application use other resources from now on, for example `database=...`.

    Its readiness is that of its database and its store.
    """
    resources = replace(get_resources(app), **changes)
    readiness = Readiness(resources.database, resources.storage, REVISION, Shutdown())
    app.state.resources = replace(resources, readiness=readiness)


def add_public_route(
    app: FastAPI, path: str, endpoint: Callable[..., Any], methods: list[str] | None = None
) -> None:
    """Add a route that FastAPI itself handles and that everybody may use."""
    router = APIRouter()
    router.add_api_route(path, endpoint, methods=methods)
    ForeignRouter(router, permission="public").add_to(app)
