"""The errors for a request whose head (request line and headers) is too large."""

from app.core.errors import ServiceError


class UriTooLong(ServiceError):
    """The path and query exceed their maximum length."""

    status = 414
    detail = "The path and query must not exceed 8 KiB"


class RequestHeaderFieldsTooLarge(ServiceError):
    """The headers exceed their maximum size or number."""

    status = 431
    detail = "The request must not have more than 100 headers, or headers of more than 64 KiB"
