"""Errors of the change feed."""

from app.core.errors import ServiceError


class CursorExpired(ServiceError):
    """Changes after the position of the cursor may have been deleted, or were never recorded."""

    status = 410
    detail = (
        "Changes after this cursor may be missing, because they are too old, the feed was started"
        " again, or your permissions have changed. Request after=now, and read the lists again."
    )
