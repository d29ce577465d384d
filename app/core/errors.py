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
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, BeforeValidator, Field

from app import NAME

MAX_FAULTS: Final = 100  # in one response
MAX_FAULT_LENGTH: Final = 500  # characters


def _truncate(value: str) -> str:
    """Shorten a text that may contain names of any length, chosen by the client."""
    return value[:MAX_FAULT_LENGTH]


Short = Annotated[str, BeforeValidator(_truncate), Field(max_length=MAX_FAULT_LENGTH)]


class Fault(BaseModel):
    """One fault of a request; exactly one of pointer, parameter and header says where."""

    detail: Annotated[Short, Field(description="For people")]
    code: str = Field(max_length=100, description="Stable, for programs")
    pointer: Short | None = Field(None, description="JSON pointer into the body")
    parameter: Short | None = Field(None, description="In the path or query")
    header: Short | None = Field(None, description="Of the request")


def pointer(*path: object) -> str:
    """Return the JSON pointer (RFC 6901) to a place in a body, for example `/items/17/title`."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def reason(error: Mapping[str, Any]) -> str:
    """Return the message of one of Pydantic's errors, without the input that it may quote."""
    return str(error["msg"]).removeprefix("Value error, ")


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

    def __init__(self, detail: str | None = None, *faults: Fault) -> None:
        super().__init__(detail or self.detail)
        self.faults = list(faults)


class MalformedRequest(ServiceError):
    """Raised for a body that cannot be parsed: broken JSON, or a multipart form cut short."""

    status = 400
    detail = "The request body cannot be read as what its Content-Type says"


class Unauthorized(ServiceError):
    """Raised without a token where one is needed, and for a login with a wrong password."""

    status = 401
    detail = "The request needs a token, from POST /tokens"
    challenge = f'Bearer realm="{NAME}"'


class InvalidToken(Unauthorized):
    """Raised for a token that nobody has, or that has no user any more."""

    type = Unauthorized.type
    detail = "The token is malformed, expired or revoked"
    challenge = f'{Unauthorized.challenge}, error="invalid_token"'


class Forbidden(ServiceError):
    """Raised for a valid token whose user lacks the permission."""

    status = 403
    detail = "The role of the token's user is too low for this"
    challenge = f'{Unauthorized.challenge}, error="insufficient_scope"'


class NotFound(ServiceError):
    """Raised for a row that does not exist, or that the principal may not see."""

    status = 404
    detail = "There is no such resource"


class MethodNotAllowed(ServiceError):
    """Raised for a path that exists, but not with the method of the request."""

    status = 405
    detail = "The resource does not know this method; see the Allow header"


class RequestTimeout(ServiceError):
    """Raised when a client stops sending the body of its request."""

    status = 408
    detail = "The request body did not arrive in time"


class Conflict(ServiceError):
    """Raised when the state of other rows, or a concurrent request, prevents a write."""

    status = 409
    detail = "The request contradicts the present state or a concurrent request"


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

    detail = "A request with this Idempotency-Key is under way"
    retry_after = 1


class PreconditionFailed(ServiceError):
    """Raised when a row has another version than the If-Match header allows."""

    status = 412
    detail = "The resource has changed: If-Match does not name its ETag"


class PayloadTooLarge(ServiceError):
    """Raised for a body, or for the file of an upload, above its limit."""

    status = 413
    detail = "The request body is larger than allowed"


class UriTooLong(ServiceError):
    """Raised for a request line above its limit."""

    status = 414
    detail = "The path and query are longer than 8 KiB"


class UnsupportedMediaType(ServiceError):
    """Raised for a body whose Content-Type or Content-Encoding the operation does not take."""

    status = 415
    detail = "The request body is of no type that the operation takes, or has a Content-Encoding"


class InvalidRequest(ServiceError):
    """Raised for a value that is wrong, with one fault for each of them."""

    status = 422
    detail = "The request is well-formed but its content is wrong; see errors"

    def __init__(self, *faults: Fault) -> None:
        super().__init__(None, *faults[:MAX_FAULTS])


class IdempotencyKeyReused(InvalidRequest):
    """Raised when an Idempotency-Key comes with another request than the first time."""

    detail = "The Idempotency-Key belongs to another request"

    def __init__(self) -> None:
        super().__init__(Fault(header="Idempotency-Key", code="key_reused", detail=self.detail))


class RequestHeaderFieldsTooLarge(ServiceError):
    """Raised for headers above their limit."""

    status = 431
    detail = "The header is larger than 64 KiB"


class InternalError(ServiceError):
    """Rendered for every exception that is not a `ServiceError`: a mistake in the service."""

    status = 500
    detail = "The service failed; its log has the cause under this request id"


class Unavailable(ServiceError):
    """Raised when the database or the object store is not responding."""

    status = 503
    detail = "A part that the service needs does not answer"
    retry_after = 1


class Overloaded(Unavailable):
    """Raised when a queue is full: of connections, uploads or passwords."""

    detail = "The service has more work than it can take"


class ShuttingDown(Unavailable):
    """Rendered by a server that is stopping, for a request that it has not finished."""

    type = Unavailable.type
    detail = "shutting down"


# The general error of each status: built before any entity can define another one with that status.
ERRORS_BY_STATUS: Final = {error.status: error for error in ServiceError.__subclasses__()}
