"""Errors of authors."""

from app.core.errors import Conflict


class AuthorHasBooks(Conflict):
    """Raised on the deletion of an author who has books."""

    detail = "The author cannot be deleted while books refer to it"
