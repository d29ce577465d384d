"""Exception handlers that turn every error of the application into a problem response."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app.core.errors import (
    ERRORS_BY_STATUS,
    InternalError,
    InvalidRequest,
    MalformedRequest,
    NotFound,
    ServiceError,
)
from app.core.field_errors import (
    MAX_FIELD_ERRORS,
    FieldError,
    json_pointer,
    validation_error_code,
    validation_error_message,
)
from app.core.http._allowed_methods import SERVER_TARGET, build_allow_headers
from app.core.http._problems import problem_response
from app.core.http._similar_paths import describe_similar_paths


def install_error_handlers(app: FastAPI) -> None:
    """Make the application respond with a problem (RFC 9457) to all errors that it expects.

    The handlers do not catch unexpected exceptions. A middleware responds to these with status 500.
    """
    handlers = {
        ServiceError: _handle_service_error,
        RequestValidationError: _handle_validation_error,
        HTTPException: _handle_framework_error,
    }
    for error_class, handler in handlers.items():
        # Starlette's type requires handlers that accept every exception.
        app.add_exception_handler(error_class, handler)  # type: ignore[arg-type]


async def _handle_service_error(request: Request, error: ServiceError) -> Response:
    """Return the response for an error that the code of this service has raised."""
    return problem_response(request, error)


async def _handle_validation_error(request: Request, error: RequestValidationError) -> Response:
    """Return a 422 response that lists the invalid parameters or body fields of a request."""
    # A large body may have thousands of invalid values. The response lists only the first, and says
    # so if there is one more.
    reported_errors = error.errors()[: MAX_FIELD_ERRORS + 1]
    field_errors = [_build_field_error(validation_error) for validation_error in reported_errors]
    return problem_response(request, InvalidRequest(*field_errors))


def _build_field_error(validation_error: dict[str, Any]) -> FieldError:
    """Convert a Pydantic error to the field error that the client gets.

    Pydantic locates the invalid value by a tuple, for example `("query", "page")`,
    `("header", "if-match")` or `("body", "items", 17, "title")`. The field error locates it by the
    name of the parameter or header, or by the JSON pointer `/items/17/title`.
    """
    source, *path = validation_error["loc"]
    code = validation_error_code(validation_error)
    detail = validation_error_message(validation_error)
    if source == "body":
        return FieldError(pointer=json_pointer(*path), code=code, detail=detail)
    # The path of a repeated parameter also has the index of the value. The path is empty if all
    # parameters together are invalid.
    name = str(path[0]) if path else ""
    if source == "header":
        return FieldError(header=name, code=code, detail=detail)
    return FieldError(parameter=name, code=code, detail=detail)


async def _handle_framework_error(request: Request, error: HTTPException) -> Response:
    """Return the response for an error that Starlette raises, such as 404 for an unknown path.

    An OPTIONS request gets a 204 response, although no route declares this method. `OPTIONS *` asks
    about the server as a whole (RFC 9110, section 9.3.7). Other methods cannot have this target.
    """
    is_about_server = request.scope["path"] == SERVER_TARGET
    is_known_path = is_about_server or error.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    if request.method == "OPTIONS" and is_known_path:
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=build_allow_headers(request))
    if is_about_server:
        return problem_response(
            request, MalformedRequest("Only the method OPTIONS can have the request target *")
        )
    error_class = ERRORS_BY_STATUS.get(error.status_code, InternalError)
    detail = error_class.detail
    if error_class is NotFound:
        question = describe_similar_paths(request)
        if question is not None:
            detail = f"{detail}. {question}"
    return problem_response(request, error_class(detail))
