"""Errors of documents."""

from app.core.errors import Conflict


class UploadExpired(Conflict):
    """Raised when the sweeper has already removed the file that a document should refer to."""

    type = Conflict.type
    detail = "The upload made no progress for too long and was removed; start a new upload"
