"""Error responses: problem details according to RFC 9457. Only this module creates them."""

from typing import Final
from urllib.parse import quote

from fastapi import Request, Response
from pydantic import BaseModel, Field

from app import NAME
from app.core.errors import MethodNotAllowed, ServiceError, UnsupportedMediaType
from app.core.field_errors import MAX_FIELD_ERRORS, FieldError
from app.core.http._accept import HTML_MEDIA_TYPE, prefers_html
from app.core.http._accepted_content import build_accept_headers
from app.core.http._allowed_methods import build_allow_headers
from app.core.http._html_pages import HTML_HEADERS
from app.core.http._problem_pages import build_problem_page
from app.core.observability import current_request_id

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
MAX_PATH_LENGTH: Final = 500  # characters
_TYPE_PREFIX: Final = f"urn:problem-type:{NAME}:"
# Percent-encoding may lengthen a character to twelve: `%XX` for each of four bytes in UTF-8.
_MAX_INSTANCE_LENGTH: Final = 12 * MAX_PATH_LENGTH
# RFC 3986 allows these characters in a path without percent-encoding, and letters and digits.
_SAFE_PATH_CHARACTERS: Final = "/:@!$&'()*+,;=~"
# Browsers open URLs with these methods. Responses to other methods may be stored for retries
# (Idempotency-Key), so that they must not depend on the Accept header.
_METHODS_OF_BROWSERS: Final = {"GET", "HEAD"}


class Problem(BaseModel):
    """The body of an error response (RFC 9457)."""

    type: str = Field(max_length=100, description="The kind of problem, stable, for programs")
    title: str = Field(max_length=100, description="The same for all problems of a type")
    status: int = Field(ge=400, le=599, description="The status code of the response")
    detail: str = Field(max_length=500, description="An explanation of this error, for people")
    instance: str = Field(max_length=_MAX_INSTANCE_LENGTH, description="The path of the request")
    request_id: str = Field(
        max_length=128, description="Identifies the request in the log of the service"
    )
    errors: list[FieldError] | None = Field(
        None,
        max_length=MAX_FIELD_ERRORS,
        description="The invalid values of the request; only present with the status 422",
    )


def build_problem(
    error_class: type[ServiceError],
    detail: str,
    *,
    instance: str,
    request_id: str,
    field_errors: list[FieldError] | None = None,
) -> Problem:
    """Build the problem, which is the body of an error response (RFC 9457), for a kind of error.

    For example, the problem for the class `EmailTaken` has the title "Email taken" and the type
    `urn:problem-type:bookshelf:email-taken`.

    Args:
        error_class: The kind of error. It determines the type, the title and the status.
        detail: An explanation of this error, for people.
        instance: The path of the request, percent-encoded.
        request_id: The id of the request in the log.
        field_errors: The invalid values of the request, if the error is about values.
    """
    problem_name = error_class.type
    return Problem(
        type=build_type(error_class),
        title=problem_name.replace("-", " ").capitalize(),
        status=error_class.status,
        detail=detail,
        instance=instance,
        request_id=request_id,
        errors=field_errors,
    )


def build_type(error_class: type[ServiceError]) -> str:
    """Return the URI of a kind of error: `urn:problem-type:bookshelf:conflict`."""
    return _TYPE_PREFIX + error_class.type


def problem_response(request: Request, error: ServiceError) -> Response:
    """Return the error response that the client gets if its request failed with this error.

    The response does not repeat values from the request, because they may be confidential. It
    contains only the path and the names of invalid fields. Browsers get it as an HTML page.
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
        headers |= build_allow_headers(request)
    if isinstance(error, UnsupportedMediaType):
        headers |= build_accept_headers(request, error)
    if request.method in _METHODS_OF_BROWSERS:
        # Some caches are configured to store errors in spite of `no-store`.
        headers["Vary"] = "Accept"
        if prefers_html(request):
            page = build_problem_page(request, problem)
            return Response(page, error.status, headers | HTML_HEADERS, HTML_MEDIA_TYPE)
    return Response(_serialize(problem), error.status, headers, PROBLEM_MEDIA_TYPE)


def problem_body(error: ServiceError) -> bytes:
    """Return the body of an error response to bytes that the server cannot parse as HTTP.

    The server needs only the body, because it writes the response itself.
    """
    # The path of the request is unknown, so the problem has the path "/".
    problem = build_problem(
        type(error), str(error), instance="/", request_id=current_request_id.get()
    )
    return _serialize(problem)


def _serialize(problem: Problem) -> bytes:
    """Return a problem as JSON, without the members whose value is None."""
    return problem.model_dump_json(exclude_none=True).encode()
