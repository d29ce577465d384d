"""Error responses: problem details according to RFC 9457. Only this module creates them."""

from typing import Final
from urllib.parse import quote

from fastapi import Request, Response
from pydantic import BaseModel, Field

from app import NAME
from app.core.errors import MethodNotAllowed, ServiceError
from app.core.field_errors import FieldError
from app.core.http._allowed_methods import allow_headers
from app.core.observability import current_request_id

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
MAX_PATH_LENGTH: Final = 500  # characters
_TYPE_PREFIX: Final = f"urn:problem-type:{NAME}:"
# Percent-encoding makes up to twelve characters of one: four bytes in UTF-8, `%XX` for each.
_MAX_INSTANCE_LENGTH: Final = 12 * MAX_PATH_LENGTH
# The characters of a path that RFC 3986 allows without percent-encoding, beside letters and digits.
_SAFE_PATH_CHARACTERS: Final = "/:@!$&'()*+,;=~"


class Problem(BaseModel):
    """The body of an error response (RFC 9457)."""

    type: str = Field(max_length=100, description="The kind of problem, stable, for programs")
    title: str = Field(max_length=100, description="The same for all problems of a type")
    status: int = Field(description="The status code of the response")
    detail: str = Field(max_length=500, description="An explanation of this error, for people")
    instance: str = Field(max_length=_MAX_INSTANCE_LENGTH, description="The path of the request")
    request_id: str = Field(
        max_length=128, description="Identifies the request in the log of the service"
    )
    errors: list[FieldError] | None = Field(
        None, description="The invalid values of the request; only present with the status 422"
    )


def build_problem(
    error_class: type[ServiceError],
    detail: str,
    *,
    instance: str,
    request_id: str,
    field_errors: list[FieldError] | None = None,
) -> Problem:
    """Return the problem for an error.

    The type and the title follow from the class of the error. For example, `EmailTaken` has the
    type `urn:problem-type:bookshelf:email-taken` and the title "Email taken".
    """
    return Problem(
        type=_TYPE_PREFIX + error_class.type,
        title=error_class.type.replace("-", " ").capitalize(),
        status=error_class.status,
        detail=detail,
        instance=instance,
        request_id=request_id,
        errors=field_errors,
    )


def problem_response(request: Request, error: ServiceError) -> Response:
    """Return the response for an error.

    Except for the path and the names of fields, it contains nothing that the client has sent.
    """
    path = request.scope["path"][:MAX_PATH_LENGTH]
    problem = build_problem(
        type(error),
        str(error),
        instance=quote(path, safe=_SAFE_PATH_CHARACTERS),
        request_id=current_request_id.get(),
        field_errors=error.field_errors or None,
    )
    headers = {"Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.challenge is not None:
        headers["WWW-Authenticate"] = error.challenge
    if isinstance(error, MethodNotAllowed):
        headers |= allow_headers(request)
    return Response(_serialize(problem), error.status, headers, PROBLEM_MEDIA_TYPE)


def problem_body(error: ServiceError) -> bytes:
    """Return the body of the error response if a client sent bytes that are not valid HTTP.

    `instance` is "/", because the path of the request is unknown.
    """
    problem = build_problem(
        type(error), str(error), instance="/", request_id=current_request_id.get()
    )
    return _serialize(problem)


def _serialize(problem: Problem) -> bytes:
    """Return a problem as JSON. A member that is None is left out."""
    return problem.model_dump_json(exclude_none=True).encode()
