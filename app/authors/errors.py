"""Errors of authors."""

from app.core.errors import Conflict


class AuthorHasBooks(Conflict):
    """Raised when a client deletes an author who still has books."""

    detail = "The author cannot be deleted while books refer to it"
