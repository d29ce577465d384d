"""Errors for the head of a request (request line and headers), which only the server raises."""

from app.core.errors import ServiceError, TooManyRequests


class TooManyPipelinedRequests(TooManyRequests):
    """A client sends many requests without waiting for the responses."""

    type = TooManyRequests.type
    detail = (
        "Too many requests of your connection wait for responses. This request and those after it"
        " had no effect. Retry later."
    )
    retry_after = 1


class FeatureNotImplemented(ServiceError):
    """The request needs a part of HTTP that the server does not have, such as CONNECT."""

    status = 501
    type = "not-implemented"
    detail = "The server does not support a feature of HTTP that the request needs"


class HttpVersionNotSupported(ServiceError):
    """The request line has another version than HTTP/1.1 or HTTP/1.0."""

    status = 505
    detail = "The server supports only HTTP/1.1 and HTTP/1.0"
