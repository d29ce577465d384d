"""All routers of the service, and the descriptions of their tags in the OpenAPI document."""

from typing import Any, Final

from app.authors.router import router as authors
from app.books.router import router as books
from app.changes.router import router as changes
from app.core.http import GuardedRoute, GuardedRouter, Router
from app.core.http import welcome_router as welcome
from app.core.server import router as health
from app.documents.direct_upload_router import router as direct_uploads
from app.documents.router import router as documents
from app.reports.router import router as reports
from app.settings import Settings
from app.tokens.router import router as tokens
from app.users.router import router as users

# The busiest router comes first, because the routes are tried in this order.
ROUTERS: Final[tuple[Router | GuardedRouter | GuardedRoute, ...]] = (
    books,
    authors,
    documents,
    direct_uploads,
    users,
    tokens,
    reports,
    changes,
    health,
    welcome,
)

TAGS: Final = [
    {"name": "authors", "description": "Authors of books"},
    {"name": "books", "description": "Books, each with one author"},
    {"name": "documents", "description": "Named files, which are kept in an object store"},
    {"name": "users", "description": "User accounts"},
    {"name": "tokens", "description": "Login, logout and the tokens of a user"},
    {"name": "reports", "description": "Statistics from the reporting database"},
    {
        "name": "changes",
        "description": "The change feed, with which clients keep copies up to date",
    },
    {"name": "health", "description": "Liveness and readiness probes"},
    {"name": "service", "description": "Name, version, links and access of the service"},
]


def select_routers(settings: Settings) -> list[Router | GuardedRouter | GuardedRoute]:
    """Return the routers of an application with these settings."""
    return [router for router in ROUTERS if router is not changes or settings.change_feed]


def select_tags(settings: Settings) -> list[dict[str, Any]]:
    """Return the descriptions of the tags of an application with these settings."""
    return [tag for tag in TAGS if tag["name"] != "changes" or settings.change_feed]
