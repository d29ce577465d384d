"""Every router, in one list. The busiest first: the framework tries routes in order."""

from typing import Final

from app.authors.router import router as authors
from app.books.router import router as books
from app.core.http import ForeignRouter, GuardedRoute, Router
from app.core.server import router as health
from app.documents.router import router as documents
from app.reports.router import router as reports
from app.tokens.router import router as tokens
from app.users.router import router as users

ROUTERS: Final[tuple[Router | ForeignRouter | GuardedRoute, ...]] = (
    books,
    authors,
    documents,
    users,
    tokens,
    reports,
    health,
)

TAGS: Final = [
    {"name": "authors", "description": "People who write books"},
    {"name": "books", "description": "Books, each by one author"},
    {"name": "documents", "description": "Named files in an object store"},
    {"name": "users", "description": "People with an account"},
    {"name": "tokens", "description": "Logging in and out"},
    {"name": "reports", "description": "What is counted, from the reporting database"},
    {"name": "health", "description": "For probes"},
]
