"""Errors that belong to no entity: one class per problem type.

Services and repositories raise them; `core.http` alone turns them into responses. The errors of an
entity are in its `errors.py` and derive from one of these:

    ServiceError
        MalformedRequest              400
        Unauthorized                  401
            InvalidToken
        Forbidden                     403
        NotFound                      404
        MethodNotAllowed              405
        RequestTimeout                408
        Conflict                      409
            ConstraintViolated
            RequestInProgress
        PreconditionFailed            412
        PayloadTooLarge               413
        UriTooLong                    414
        UnsupportedMediaType          415
        InvalidRequest                422
            IdempotencyKeyReused
        RequestHeaderFieldsTooLarge   431
        InternalError                 500
        Unavailable                   503
            Overloaded
            ShuttingDown
"""

import re
from typing import ClassVar, Final

from app import NAME
from app.core.field_errors import MAX_FIELD_ERRORS, FieldError


class ServiceError(Exception):
    """Base of the errors that a client may see. The problem type is `type` or the class name."""

    status: ClassVar[int]
    detail: ClassVar[str]
    type: ClassVar[str]
    retry_after: int | None = None  # seconds
    challenge: ClassVar[str | None] = None  # the WWW-Authenticate header (RFC 6750)

    def __init_subclass__(cls) -> None:
        if "type" not in cls.__dict__:
            cls.type = re.sub("(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    def __init__(self, detail: str | None = None, *faults: FieldError) -> None:
        super().__init__(detail or self.detail)
        self.field_errors = list(faults)


class MalformedRequest(ServiceError):
    """Raised for a body that cannot be parsed: broken JSON, or a multipart form cut short."""

    status = 400
    detail = "The request body cannot be parsed. It must match its Content-Type"


class Unauthorized(ServiceError):
    """Raised without a token where one is needed, and for a login with a wrong password."""

    status = 401
    detail = "The request needs an access token. POST /tokens returns one"
    challenge = f'Bearer realm="{NAME}"'


class InvalidToken(Unauthorized):
    """Raised for a token that nobody has, or that has no user any more."""

    type = Unauthorized.type
    detail = "The access token is malformed, expired or revoked"
    challenge = f'{Unauthorized.challenge}, error="invalid_token"'


class Forbidden(ServiceError):
    """Raised for a valid token whose user lacks the permission."""

    status = 403
    detail = "The role of the user does not permit this operation"
    challenge = f'{Unauthorized.challenge}, error="insufficient_scope"'


class NotFound(ServiceError):
    """Raised for a row that does not exist, or that the principal may not see."""

    status = 404
    detail = "The resource does not exist"


class MethodNotAllowed(ServiceError):
    """Raised for a path that exists, but not with the method of the request."""

    status = 405
    detail = (
        "The resource does not support this method. The Allow header lists those that it supports"
    )


class RequestTimeout(ServiceError):
    """Raised when a client stops sending the body of its request."""

    status = 408
    detail = "The request body did not arrive in time"


class Conflict(ServiceError):
    """Raised when the state of other rows, or a concurrent request, prevents a write."""

    status = 409
    detail = "The request conflicts with the current state or with a concurrent request"


class ConstraintViolated(Conflict):
    """Raised by a session when a database constraint refuses a write.

    A repository replaces it by the error that it declares for the name of the constraint.
    """

    type = Conflict.type

    def __init__(self, constraint: str) -> None:
        super().__init__()
        self.constraint = constraint


class RequestInProgress(Conflict):
    """Raised for a retry while the first request with its Idempotency-Key is being handled."""

    detail = "A request with this Idempotency-Key is still in progress. Retry later"
    retry_after = 1


class PreconditionFailed(ServiceError):
    """Raised when a row has another version than the If-Match header allows."""

    status = 412
    detail = "The resource has changed. If-Match does not contain its current ETag"


class PayloadTooLarge(ServiceError):
    """Raised for a body, or for the file of an upload, above its limit."""

    status = 413
    detail = "The request body is too large"


class UriTooLong(ServiceError):
    """Raised for a request line above its limit."""

    status = 414
    detail = "The path and query must not exceed 8 KiB"


class UnsupportedMediaType(ServiceError):
    """Raised for a body whose Content-Type or Content-Encoding the operation does not take."""

    status = 415
    detail = (
        "The operation does not support the Content-Type or Content-Encoding of the request body"
    )


class InvalidRequest(ServiceError):
    """Raised for a value that is wrong, with one fault for each of them."""

    status = 422
    detail = "The request contains invalid values. The member errors lists them"

    def __init__(self, *faults: FieldError) -> None:
        super().__init__(None, *faults[:MAX_FIELD_ERRORS])


class IdempotencyKeyReused(InvalidRequest):
    """Raised when an Idempotency-Key comes with another request than the first time."""

    detail = "The Idempotency-Key was already used for a different request"

    def __init__(self) -> None:
        super().__init__(
            FieldError(header="Idempotency-Key", code="key_reused", detail=self.detail)
        )


class RequestHeaderFieldsTooLarge(ServiceError):
    """Raised for headers above their limit."""

    status = 431
    detail = "The request headers must not exceed 64 KiB"


class InternalError(ServiceError):
    """Rendered for every exception that is not a `ServiceError`: a mistake in the service."""

    status = 500
    detail = "The service failed unexpectedly. Its log contains the cause under this request_id"


class Unavailable(ServiceError):
    """Raised when the database or the object store is not responding."""

    status = 503
    detail = "A backend service is not responding. Retry later"
    retry_after = 1


class Overloaded(Unavailable):
    """Raised when a queue is full: of connections, uploads or passwords."""

    detail = "The service is overloaded. Retry later"


class ShuttingDown(Unavailable):
    """Rendered by a server that is stopping, for a request that it has not finished."""

    type = Unavailable.type
    detail = "The server is shutting down"


# The general error of each status: built before any entity can define another one with that status.
ERRORS_BY_STATUS: Final = {error.status: error for error in ServiceError.__subclasses__()}
