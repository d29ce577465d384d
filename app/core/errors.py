"""The error kinds: one class per problem type, raised by services and repositories.

No web framework is imported here: `problems.py` alone turns errors into answers.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, BeforeValidator, Field

MAX_FAULTS: Final = 100  # that an answer names


def _cut(value: str) -> str:
    return value[:500]  # the client's own names may be in it, at any length


Short = Annotated[str, BeforeValidator(_cut), Field(max_length=500)]


class Fault(BaseModel):
    """One fault of a request; exactly one of pointer, parameter and header says where."""

    detail: Annotated[Short, Field(description="For people")]
    code: str = Field(max_length=100, description="Stable, for programs")
    pointer: Short | None = Field(None, description="JSON pointer into the body")
    parameter: Short | None = Field(None, description="In the path or query")
    header: Short | None = Field(None, description="Of the request")


def pointer(*path: object) -> str:
    """The JSON pointer (RFC 6901) to a place in a body."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def reason(item: Mapping[str, Any]) -> str:
    """What one of Pydantic's errors says, without the input that it quotes."""
    return str(item["msg"]).removeprefix("Value error, ")


class ServiceError(Exception):
    """Base of all errors that a client may see. The class name is the problem type."""

    status: ClassVar[int]
    detail: ClassVar[str]
    type: ClassVar[str]
    retry_after: int | None = None  # seconds
    challenge: ClassVar[str | None] = None  # WWW-Authenticate, RFC 6750

    def __init_subclass__(cls) -> None:
        if "type" not in cls.__dict__:
            cls.type = re.sub("(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    def __init__(self, detail: str | None = None, *faults: Fault) -> None:
        super().__init__(detail or self.detail)
        self.faults = list(faults)


class MalformedRequest(ServiceError):
    status, detail = 400, "The request body cannot be read as what its Content-Type says"


class Unauthorized(ServiceError):
    status, detail = 401, "The request needs a token, from POST /tokens"
    challenge = 'Bearer realm="bookshelf"'


class InvalidToken(Unauthorized):
    type, detail = Unauthorized.type, "The token is malformed, expired or revoked"
    challenge = f'{Unauthorized.challenge}, error="invalid_token"'


class Forbidden(ServiceError):
    status, detail = 403, "The role of the token's user is too low for this"
    challenge = f'{Unauthorized.challenge}, error="insufficient_scope"'


class NotFound(ServiceError):
    status, detail = 404, "There is no such resource"


class MethodNotAllowed(ServiceError):
    status, detail = 405, "The resource does not know this method; see the Allow header"


class RequestTimeout(ServiceError):
    status, detail = 408, "The request body did not arrive in time"


class Conflict(ServiceError):
    status, detail = 409, "The request contradicts the present state or a concurrent request"


class EmailTaken(Conflict):
    detail = "Email already registered"


class AuthorHasBooks(Conflict):
    detail = "The author cannot be deleted while books refer to it"


class LastAdmin(Conflict):
    type, detail = Conflict.type, "The last admin can be neither deleted nor demoted"


class ConstraintViolated(Conflict):
    """A constraint refused a write; repositories give it a meaning by its name."""

    type = Conflict.type

    def __init__(self, constraint: str) -> None:
        super().__init__()
        self.constraint = constraint


class RequestInProgress(Conflict):
    detail, retry_after = "A request with this Idempotency-Key is under way", 1


class PreconditionFailed(ServiceError):
    status, detail = 412, "The resource has changed: If-Match does not name its ETag"


class PayloadTooLarge(ServiceError):
    status, detail = 413, "The request body is larger than allowed"


class UriTooLong(ServiceError):
    status, detail = 414, "The path and query are longer than 8 KiB"


class UnsupportedMediaType(ServiceError):
    status, detail = (
        415,
        "The request body is of no type that the operation takes, or has a Content-Encoding",
    )


class InvalidRequest(ServiceError):
    status, detail = 422, "The request is well-formed but its content is wrong; see errors"

    def __init__(self, *faults: Fault) -> None:
        super().__init__(None, *faults[:MAX_FAULTS])


class IdempotencyKeyReused(InvalidRequest):
    detail = "The Idempotency-Key belongs to another request"

    def __init__(self) -> None:
        super().__init__(Fault(header="Idempotency-Key", code="key_reused", detail=self.detail))


class TooManyRequests(ServiceError):
    status, detail = 429, "Too many wrong passwords; wait before the next attempt"

    def __init__(self, retry_after: int = 1) -> None:
        super().__init__()
        self.retry_after = retry_after


class RequestHeaderFieldsTooLarge(ServiceError):
    status, detail = 431, "The header is larger than 64 KiB"


class InternalError(ServiceError):
    status, detail = 500, "The service failed; its log has the cause under this request id"


class Unavailable(ServiceError):
    status, detail, retry_after = 503, "A part that the service needs does not answer", 1


class Overloaded(Unavailable):
    detail = "The service has more work than it can take"


class ShuttingDown(Unavailable):
    type, detail = Unavailable.type, "shutting down"
