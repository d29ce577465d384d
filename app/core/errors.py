"""Errors that do not belong to an entity: one class per problem type.

`core.http` turns them into responses. It has further errors of HTTP, such as 431, and so has
`core.server`. The errors of an entity are in its `errors.py` and derive from one of these:

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
        UnsupportedMediaType          415
            UnsupportedContentEncoding
        InvalidRequest                422
            IdempotencyKeyReused
        TooManyRequests               429
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
    """Base class of errors for which the client gets an error response (RFC 9457).

    Args:
        detail: An explanation of this error for people. Defaults to the `detail` of the class.
        field_errors: The invalid values of the request, if the error is about values.
    """

    # The HTTP status, the explanation and the problem type of the response.
    status: ClassVar[int]
    detail: ClassVar[str]
    type: ClassVar[str]
    # The name of the class, for example `email-taken`. Several classes may have the same type.
    hyphenated_name: ClassVar[str]
    # The header Retry-After in seconds. Only temporary errors have it.
    retry_after: int | None = None
    # The header WWW-Authenticate (RFC 6750).
    challenge: str | None = None

    def __init_subclass__(cls) -> None:
        """Set the name, which is also the problem type unless the class shares that of another."""
        # Insert a hyphen before each capital letter other than the first one.
        cls.hyphenated_name = re.sub("(?<!^)(?=[A-Z])", "-", cls.__name__).lower()
        if "type" not in cls.__dict__:
            cls.type = cls.hyphenated_name

    def __init__(self, detail: str | None = None, *field_errors: FieldError) -> None:
        super().__init__(detail or self.detail)
        self.field_errors = list(field_errors)


class MalformedRequest(ServiceError):
    """The body, the URL or the Host header cannot be parsed, for example invalid JSON."""

    status = 400
    detail = "The request body cannot be parsed. It must match its Content-Type."


class Unauthorized(ServiceError):
    """The operation requires a token and there is none, or the password of a login is wrong."""

    status = 401
    detail = "The request needs an access token. POST /tokens returns one."
    challenge = f'Bearer realm="{NAME}"'


class InvalidToken(Unauthorized):
    """The token does not exist, or its user has been deleted."""

    type = Unauthorized.type
    detail = "The access token is malformed, expired or revoked"
    challenge = f'{Unauthorized.challenge}, error="invalid_token"'


class Forbidden(ServiceError):
    """The token is valid, but the role of its user does not have the permission."""

    status = 403
    detail = "The role of the user does not permit this operation"
    challenge = f'{Unauthorized.challenge}, error="insufficient_scope"'


class NotFound(ServiceError):
    """The row does not exist, or the principal may not see it."""

    status = 404
    detail = "The resource does not exist"


class MethodNotAllowed(ServiceError):
    """The path exists, but it does not support the method of the request."""

    status = 405
    detail = "The resource supports only the methods that the Allow header lists"


class RequestTimeout(ServiceError):
    """The client stopped sending the body of its request."""

    status = 408
    detail = "The request body did not arrive in time"


class Conflict(ServiceError):
    """The state of other rows, or a concurrent request, prevents a write."""

    status = 409
    detail = "The request conflicts with the current state or with a concurrent request"


class ConstraintViolated(Conflict):
    """A write violates a constraint of the database, for example `uq_users_email_fold_case`.

    Database sessions raise this error. Repositories replace it, for example by `EmailTaken`.
    """

    # Clients do not know the constraints, so they get the problem type of a general conflict.
    type = Conflict.type

    def __init__(self, constraint_name: str) -> None:
        super().__init__()
        self.constraint_name = constraint_name


class RequestInProgress(Conflict):
    """Another request with the same Idempotency-Key has not been completed yet."""

    detail = "A request with this Idempotency-Key is still in progress. Retry later."
    retry_after = 1


class PreconditionFailed(ServiceError):
    """The headers If-Match and If-None-Match do not allow a write to replace the row's version."""

    status = 412
    detail = "The resource has changed. If-Match does not contain its current ETag."


class PayloadTooLarge(ServiceError):
    """The body, or the file of an upload, exceeds its maximum size."""

    status = 413
    detail = "The request body is too large"


class UnsupportedMediaType(ServiceError):
    """The operation does not accept the Content-Type of the body."""

    status = 415
    detail = "The Content-Type of the request body must be one of those in the Accept header"


class UnsupportedContentEncoding(UnsupportedMediaType):
    """The body has a Content-Encoding, for example gzip."""

    type = UnsupportedMediaType.type
    detail = "The request body must not be compressed. Send it without Content-Encoding."


class InvalidRequest(ServiceError):
    """The request contains invalid values. The response lists the first `MAX_FIELD_ERRORS`."""

    status = 422
    detail = "The request contains invalid values. The member errors lists them."

    def __init__(self, *field_errors: FieldError) -> None:
        detail = None
        if len(field_errors) > MAX_FIELD_ERRORS:
            detail = f"The member errors lists the first {MAX_FIELD_ERRORS} of the invalid values."
        super().__init__(detail, *field_errors[:MAX_FIELD_ERRORS])


class IdempotencyKeyReused(InvalidRequest):
    """The client has already used the same Idempotency-Key for a different request."""

    detail = "The Idempotency-Key was already used for a different request"

    def __init__(self) -> None:
        super().__init__(
            FieldError(header="Idempotency-Key", code="key_reused", detail=self.detail)
        )


class TooManyRequests(ServiceError):
    """A user, network, account, token or connection exceeds its own limit.

    If all callers together reach a limit, the error is `Overloaded`. `retry_after` is in seconds.
    """

    status = 429
    detail = "Too many requests of your user or network are in progress. Retry later."
    retry_after = 5

    def __init__(self, detail: str | None = None, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        if retry_after is not None:
            self.retry_after = retry_after


class InternalError(ServiceError):
    """The service has a bug. Every exception that is not a `ServiceError` is rendered as this."""

    status = 500
    detail = "The service failed unexpectedly. Its log contains the cause under this request_id."


class Unavailable(ServiceError):
    """The database or the object store is not responding."""

    status = 503
    detail = "A backend service is not responding. Retry later."
    # None if retrying does not help.
    retry_after: int | None = 1


class Overloaded(Unavailable):
    """All callers together use what the server has, for example all database connections."""

    detail = "The service is overloaded. Retry later."


class ShuttingDown(Unavailable):
    """The server is stopping and will not complete the request."""

    type = Unavailable.type
    detail = "The server is shutting down. Retry later."


# The general errors by status, without those that entities define later: `Conflict` for 409.
ERRORS_BY_STATUS: Final = {
    error_class.status: error_class for error_class in ServiceError.__subclasses__()
}
