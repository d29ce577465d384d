"""Errors of authors."""

from app.core.errors import Conflict


class AuthorHasBooks(Conflict):
    """Raised when an author is deleted to whom books refer."""

    detail = "The author cannot be deleted while books refer to it"
