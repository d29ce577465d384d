"""Errors of documents."""

from app.core.errors import Conflict, RequestInProgress


class UploadExpired(Conflict):
    """Raised if the sweeper has removed an uploaded file before a document referred to it."""

    # Clients see the general problem type `conflict` instead of `upload-expired`.
    type = Conflict.type
    detail = "The upload made no progress for too long and was removed; start a new upload"


class UploadInProgress(RequestInProgress):
    """Another request is completing the same direct upload."""

    type = RequestInProgress.type
    detail = "Another request is completing this upload. Retry later."
