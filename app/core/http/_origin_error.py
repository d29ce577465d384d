"""The error for requests of web pages that may not use the service."""

from app.core.errors import ServiceError


class OriginNotAllowed(ServiceError):
    """A web page whose origin CORS_ORIGINS does not contain sends a request, or wants to."""

    status = 403
    detail = (
        "The service does not allow requests of web pages with this origin. The setting"
        " CORS_ORIGINS lists the allowed origins."
    )
