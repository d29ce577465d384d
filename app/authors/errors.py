"""Errors of authors."""

from app.core.errors import Conflict


class AuthorHasBooks(Conflict):
    """Raised when an author who has books is deleted."""

    detail = "The author cannot be deleted while books refer to it"
