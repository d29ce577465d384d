"""Errors as RFC 9457 problem details, in answers and in the OpenAPI document. The only place."""

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from app.core import errors
from app.core.errors import Invalid, InvalidRequest, MethodNotAllowed, ServiceError
from app.core.logging import request_id
from app.core.routing import allowed_methods

MEDIA_TYPE: Final = "application/problem+json"
_TYPE_PREFIX: Final = "urn:problem-type:bookshelf:"
_BY_STATUS: Final[Mapping[int, type[ServiceError]]] = {
    kind.status: kind
    for kind in (
        errors.MalformedRequest,
        errors.NotFound,
        MethodNotAllowed,
        errors.PayloadTooLarge,
        errors.UnsupportedMediaType,
        InvalidRequest,
        errors.Unavailable,
    )
}
log = logging.getLogger(__name__)


class Fault(BaseModel):
    """One fault of a request: exactly one of pointer, parameter and header says where."""

    detail: str = Field(max_length=500)
    code: str = Field(max_length=100, description="Stable, for programs")
    pointer: str | None = Field(None, max_length=4000, description="JSON pointer into the body")
    parameter: str | None = Field(None, max_length=4000, description="Query or path parameter")
    header: str | None = Field(None, max_length=100)


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(max_length=100)
    title: str = Field(max_length=100)
    status: int
    detail: str = Field(max_length=500)
    instance: str = Field(max_length=8192, description="The path of the request")
    request_id: str = Field(max_length=128, description="Names the request in the service's log")
    errors: list[Fault] | None = Field(None, description="Only for 422")


def render(request: Request, error: ServiceError) -> Response:
    """The answer for an error. It never repeats what the client sent, save names and the path."""
    problem = Problem(
        type=_TYPE_PREFIX + error.type,
        title=error.title,
        status=error.status,
        detail=str(error),
        instance=request.url.path,
        request_id=request_id.get(),
        errors=[Fault.model_construct(**_place(fault)) for fault in error.errors] or None,
    )
    headers = {"Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, MethodNotAllowed):
        headers |= allowed_methods(request)
    return Response(problem.model_dump_json(exclude_none=True), error.status, headers, MEDIA_TYPE)


def _place(fault: Invalid) -> dict[str, Any]:
    return {name: getattr(fault, name) for name in Invalid.__slots__}


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)  # noqa: S101 - registered for no other
    return render(request, error)


async def _framework_error(request: Request, error: Exception) -> Response:
    """Starlette's own: no route, a method that the path does not know, a broken body."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for no other
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and request.method == "OPTIONS":
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=allowed_methods(request))
    kind = _BY_STATUS.get(error.status_code, errors.InternalError)
    return render(request, kind())


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for no other
    return render(request, InvalidRequest(errors=[_fault(item) for item in error.errors()]))


def _fault(item: Mapping[str, Any]) -> Invalid:
    """Pydantic's error without the input, and in words that are ours where its quote the input."""
    source, *path = item["loc"]
    detail, code = item["msg"].removeprefix("Value error, "), item["type"]
    if source == "body":
        pointer = "".join(f"/{_escape(part)}" for part in path)
        return Invalid(pointer=pointer, detail=detail, code=code)
    name = str(path[0]) if path else ""
    if source == "header":
        return Invalid(header=name, detail=detail, code=code)
    return Invalid(parameter=name, detail=detail, code=code)


def _escape(part: object) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")  # RFC 6901


def install(app: FastAPI) -> None:
    """Register the handlers; the middleware renders what escapes them as internal-error."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _framework_error)


def responses(*kinds: type[ServiceError]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of an operation that can answer these problems."""
    by_status: dict[int | str, list[type[ServiceError]]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {status: _response(same) for status, same in by_status.items()}


def _response(kinds: Iterable[type[ServiceError]]) -> dict[str, Any]:
    types = {kind.type: kind for kind in kinds}
    return {
        "description": " or ".join(kind.title for kind in types.values()),
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "$ref": "#/components/schemas/Problem",
                    "properties": {"type": {"enum": [_TYPE_PREFIX + name for name in types]}},
                },
                "examples": {name: {"value": _example(kind)} for name, kind in types.items()},
            }
        },
    }


def merge(response: dict[str, Any], other: dict[str, Any]) -> None:
    """Add to a response the problems of another one with the same status."""
    mine, its = response["content"][MEDIA_TYPE], other["content"][MEDIA_TYPE]
    mine["examples"] |= its["examples"]
    mine["schema"]["properties"]["type"]["enum"] = [
        _TYPE_PREFIX + name for name in mine["examples"]
    ]
    response["description"] = " or ".join(e["value"]["title"] for e in mine["examples"].values())


def _example(kind: type[ServiceError]) -> dict[str, Any]:
    return {
        "type": _TYPE_PREFIX + kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": kind.detail,
        "instance": "/example",
        "request_id": "0199b2f4c0de7000a000000000000000",
    }
