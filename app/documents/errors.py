"""Errors of documents."""

from app.core.errors import Conflict


class UploadExpired(Conflict):
    """Raised when the sweeper has removed an upload that a client still works on."""

    type = Conflict.type
    detail = "The upload made no progress for too long and was removed"
