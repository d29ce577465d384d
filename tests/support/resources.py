"""Replaces resources of an application for a test, and adds routes to it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, FastAPI

from app.changes.repository import ChangeRepository
from app.core.change_watcher import ChangeWatcher
from app.core.http import GuardedRouter
from app.core.server import Readiness, Shutdown
from app.resources import Resources
from app.tables import REQUIRED_REVISIONS
from app.tokens.service import PrincipalFinder


def get_resources(app: FastAPI) -> Resources:
    """Return the resources that an application uses."""
    resources: Resources = app.state.resources
    return resources


def replace_resources(app: FastAPI, **changes: Any) -> None:
    """Replace some resources of an application, for example `database=...`.

    The readiness check then uses the new database and object store. The lookup of tokens and the
    watcher of the change feed use the new database.
    """
    resources = replace(get_resources(app), **changes)
    readiness = Readiness(resources.database, resources.storage, REQUIRED_REVISIONS, Shutdown())
    watcher = ChangeWatcher(
        # A test may have replaced the database by None, which only requests must notice.
        lambda horizon: ChangeRepository(resources.database.reads).find_new_changes(horizon),
        is_shutting_down=lambda: False,
    )
    app.state.resources = replace(
        resources,
        find_principal=PrincipalFinder(resources.database).find,
        readiness=readiness,
        change_watcher=watcher,
    )


def add_public_route(
    app: FastAPI, path: str, endpoint: Callable[..., Any], methods: list[str] | None = None
) -> None:
    """Add a route that FastAPI handles without our Router and that needs no permission."""
    router = APIRouter()
    router.add_api_route(path, endpoint, methods=methods)
    GuardedRouter(router, permission="public").add_to(app)
