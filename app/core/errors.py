"""The error kinds of the service: one class per problem type. No framework is imported here.

Services and repositories raise them; `problems.py` alone turns them into answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalid:
    """One fault of a request: where (exactly one of the three), what, and a stable code."""

    detail: str
    code: str
    pointer: str | None = None
    parameter: str | None = None
    header: str | None = None


class ServiceError(Exception):
    """Base of all errors that a client may see. Subclasses fix the status, type and title."""

    status: ClassVar[int]
    type: ClassVar[str]
    title: ClassVar[str]
    detail: ClassVar[str]
    retry_after: ClassVar[int | None] = None

    def __init__(self, detail: str | None = None, *, errors: Sequence[Invalid] = ()) -> None:
        super().__init__(detail or self.detail)
        self.errors = tuple(errors)


class MalformedRequest(ServiceError):
    status, type, title = 400, "malformed-request", "Malformed request"
    detail = "The request body is not valid JSON in UTF-8"


class NotFound(ServiceError):
    status, type, title = 404, "not-found", "Not found"
    detail = "There is no such resource"


class MethodNotAllowed(ServiceError):
    status, type, title = 405, "method-not-allowed", "Method not allowed"
    detail = "The resource does not know this method; see the Allow header"


class Conflict(ServiceError):
    status, type, title = 409, "conflict", "Conflict"
    detail = "The request contradicts the present state of the resource or a concurrent request"


class EmailTaken(Conflict):
    type, title, detail = "email-taken", "Email taken", "Email already registered"


class AuthorHasBooks(Conflict):
    type, title = "author-has-books", "Author has books"
    detail = "The author cannot be deleted while books refer to it"


class PreconditionFailed(ServiceError):
    status, type, title = 412, "precondition-failed", "Precondition failed"
    detail = "The resource has changed: its ETag is none of those in If-Match"


class PayloadTooLarge(ServiceError):
    status, type, title = 413, "payload-too-large", "Payload too large"
    detail = "The request body is larger than allowed"


class UnsupportedMediaType(ServiceError):
    status, type, title = 415, "unsupported-media-type", "Unsupported media type"
    detail = "The request body must be JSON, without a Content-Encoding"


class InvalidRequest(ServiceError):
    status, type, title = 422, "invalid-request", "Invalid request"
    detail = "The request is well-formed but its content is wrong; see errors"


class InternalError(ServiceError):
    status, type, title = 500, "internal-error", "Internal error"
    detail = "The service failed; its log has the cause under this request id"


class Unavailable(ServiceError):
    status, type, title = 503, "unavailable", "Unavailable"
    detail = "A part that the service depends on does not answer"
    retry_after = 1


class Overloaded(Unavailable):
    type, title = "overloaded", "Overloaded"
    detail = "The service has more work than it can take"


class ConstraintViolated(Conflict):
    """The database refused a write; repositories give the constraint its meaning by its name."""

    def __init__(self, constraint: str | None) -> None:
        super().__init__()
        self.constraint = constraint
