"""Every router, in one list. The busiest first: the framework tries routes in order."""

from typing import Final

from fastapi import APIRouter

from app.authors.router import router as authors
from app.books.router import router as books
from app.core.health import router as health
from app.users.router import router as users

ROUTERS: Final[tuple[APIRouter, ...]] = (books, authors, users, health)

TAGS: Final = [
    {"name": "authors", "description": "People who write books"},
    {"name": "books", "description": "Books, each by one author"},
    {"name": "users", "description": "People with an account"},
    {"name": "health", "description": "For probes"},
]
