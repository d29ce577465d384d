"""Exception handlers that turn every error of the application into a problem response."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app.core.errors import ERRORS_BY_STATUS, InternalError, InvalidRequest, ServiceError
from app.core.field_errors import (
    MAX_FIELD_ERRORS,
    FieldError,
    json_pointer,
    validation_error_code,
    validation_error_message,
)
from app.core.http._allowed_methods import allow_headers
from app.core.http._problems import problem_response


def install_error_handlers(app: FastAPI) -> None:
    """Register the exception handlers of this module.

    They do not handle unexpected exceptions. For these, a middleware sends the 500 response.
    """
    handlers = {
        ServiceError: _handle_service_error,
        RequestValidationError: _handle_validation_error,
        HTTPException: _handle_framework_error,
    }
    for error_class, handler in handlers.items():
        app.add_exception_handler(error_class, handler)  # type: ignore[arg-type]


async def _handle_service_error(request: Request, error: ServiceError) -> Response:
    return problem_response(request, error)


async def _handle_validation_error(request: Request, error: RequestValidationError) -> Response:
    """Return the response for a request whose parameters or body do not fit the models."""
    # A body can contain far more errors than the response lists, so the rest is not converted.
    reported_errors = error.errors()[:MAX_FIELD_ERRORS]
    field_errors = [_field_error(validation_error) for validation_error in reported_errors]
    return problem_response(request, InvalidRequest(*field_errors))


def _field_error(validation_error: dict[str, Any]) -> FieldError:
    """Convert one of Pydantic's errors, without the rejected value, which it contains.

    `loc` of the error has the source of the value and its path, for example
    `("body", "items", 17, "title")` or `("query", "page")`.
    """
    source, *path = validation_error["loc"]
    code = validation_error_code(validation_error)
    detail = validation_error_message(validation_error)
    if source == "body":
        return FieldError(pointer=json_pointer(*path), code=code, detail=detail)
    # The rest of the path is the index of a repeated parameter.
    name = str(path[0]) if path else ""
    if source == "header":
        return FieldError(header=name, code=code, detail=detail)
    return FieldError(parameter=name, code=code, detail=detail)


async def _handle_framework_error(request: Request, error: HTTPException) -> Response:
    """Return the response for an error of Starlette, such as an unknown path or method.

    It is the problem of the error's status. OPTIONS is not an error: no endpoint declares it, and
    every path supports it.
    """
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and request.method == "OPTIONS":
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=allow_headers(request))
    error_class = ERRORS_BY_STATUS.get(error.status_code, InternalError)
    return problem_response(request, error_class())
