"""Errors of documents."""

from app.core.errors import Conflict, PayloadTooLarge, RequestInProgress


class UploadExpired(Conflict):
    """Raised if the sweeper has removed an uploaded file before a document referred to it."""

    # Clients see the general problem type `conflict` instead of `upload-expired`.
    type = Conflict.type
    detail = "The upload made no progress for too long and was removed; start a new upload"


class UploadInProgress(RequestInProgress):
    """Another request is completing the same direct upload."""

    type = RequestInProgress.type
    detail = "Another request is completing this upload. Retry later."


class TooManyDocuments(Conflict):
    """The owner has as many documents as the quota allows."""

    detail = "The owner already has the maximum number of documents"


class TooManyUploads(Conflict):
    """The owner has as many direct uploads that are not completed as the quota allows."""

    detail = "The owner already has the maximum number of direct uploads that are not completed"


class StorageQuotaExceeded(PayloadTooLarge):
    """The file is larger than what is left of the owner's quota of bytes."""

    detail = "The file does not fit into the storage quota of the owner"
