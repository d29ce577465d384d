"""Errors that `core.server` raises before an endpoint is called, and that operations list.

`core.server` has others, which the OpenAPI document leaves out.
"""

from app.core.errors import ServiceError


class OriginNotAllowed(ServiceError):
    """A web page whose origin CORS_ORIGINS does not contain sends a request, or wants to."""

    status = 403
    detail = (
        "The service does not allow requests of web pages with this origin. The setting"
        " CORS_ORIGINS lists the allowed origins."
    )


class UriTooLong(ServiceError):
    """The path and query exceed their maximum length."""

    status = 414
    detail = "The path and query must not exceed 8 KiB"


class RequestHeaderFieldsTooLarge(ServiceError):
    """The headers exceed their maximum size or number."""

    status = 431
    detail = "The request must not have more than 100 headers, or headers of more than 64 KiB"
