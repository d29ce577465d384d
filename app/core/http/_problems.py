"""Errors as RFC 9457 problem details, in answers and in the OpenAPI document. The only place."""

from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Scope

from app import NAME
from app.core.errors import (
    ERRORS_BY_STATUS,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    ServiceError,
)
from app.core.field_errors import (
    MAX_FIELD_ERRORS,
    FieldError,
    json_pointer,
    validation_error_code,
    validation_error_message,
)
from app.core.observability import current_request_id

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
PREFIX: Final = f"urn:problem-type:{NAME}:"
METHODS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")
MAX_PATH_LENGTH: Final = 500  # characters, before each becomes up to twelve
Answer = dict[str, Any]  # of the OpenAPI document
# Of the examples: every operation finds it in a query with `?x=1`.
_FAULT: Final = FieldError(parameter="x", code="unknown_parameter", detail="Unknown parameter")
_PCHAR: Final = "/:@!$&'()*+,;=~"  # RFC 3986


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(max_length=100, description="Stable, for programs")
    title: str = Field(max_length=100, description="The same for each of a type")
    status: int = Field(description="As of the answer")
    detail: str = Field(max_length=500, description="What went wrong this time, for people")
    instance: str = Field(max_length=12 * MAX_PATH_LENGTH, description="The path of the request")
    request_id: str = Field(max_length=128, description="Names the request in the service's log")
    errors: list[FieldError] | None = Field(None, description="Only for 422")


def _problem(kind: type[ServiceError], detail: str, **more: Any) -> Problem:
    title = kind.type.replace("-", " ").capitalize()
    return Problem(type=PREFIX + kind.type, title=title, status=kind.status, detail=detail, **more)


def problem_response(request: Request, error: ServiceError) -> Response:
    """The answer for an error. It never repeats what the client sent, save names and the path."""
    path, faults = (
        quote(request.scope["path"][:MAX_PATH_LENGTH], safe=_PCHAR),
        error.field_errors or None,
    )
    problem = _problem(
        type(error), str(error), instance=path, request_id=current_request_id.get(), errors=faults
    )
    headers = {"Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.challenge is not None:
        headers["WWW-Authenticate"] = error.challenge
    if isinstance(error, MethodNotAllowed):
        headers |= allowed_methods(request)
    return Response(
        problem.model_dump_json(exclude_none=True), error.status, headers, PROBLEM_MEDIA_TYPE
    )


def problem_body(error: ServiceError) -> bytes:
    """Return the body of an answer to data that cannot be read as a request."""
    problem = _problem(type(error), str(error), instance="/", request_id=current_request_id.get())
    return problem.model_dump_json(exclude_none=True).encode()


async def _service_error(request: Request, error: ServiceError) -> Response:
    return problem_response(request, error)


async def _framework_error(request: Request, error: HTTPException) -> Response:
    """Starlette's own: no such route, a method that the path does not know."""
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and request.method == "OPTIONS":
        return Response(status_code=HTTPStatus.NO_CONTENT, headers=allowed_methods(request))
    error_class = ERRORS_BY_STATUS.get(error.status_code, InternalError)
    return problem_response(request, error_class())


async def _validation_error(request: Request, error: RequestValidationError) -> Response:
    return problem_response(
        request, InvalidRequest(*map(_fault, error.errors()[:MAX_FIELD_ERRORS]))
    )


def allowed_methods(request: Request) -> dict[str, str]:
    """Return `Allow`, and `Accept-Patch` where it applies, for all routes of the request's path."""
    scope = dict(request.scope)
    # A mount that the request went through has added its own path to `root_path`.
    scope["root_path"] = scope.get("app_root_path", scope.get("root_path", ""))
    routes = [
        route for route in request.app.routes if route.matches(dict(scope))[0] is not Match.NONE
    ]
    methods = {"OPTIONS"}
    headers = {}
    for route in routes:
        route_methods = _methods_of(route, scope)
        methods |= route_methods
        if "PATCH" in route_methods:
            headers["Accept-Patch"] = ", ".join(getattr(route, "media_types", ["application/json"]))
    if "GET" in methods:
        methods.add("HEAD")
    headers["Allow"] = ", ".join(sorted(methods))
    return headers


def _methods_of(route: BaseRoute, scope: Scope) -> set[str]:
    """Return the methods of a route of any kind that matches the path of the scope."""
    route = getattr(route, "route", route)
    methods: set[str] | None = getattr(route, "methods", None)
    if methods is not None:
        return methods
    if isinstance(route, Mount):
        return {"GET"}
    return {
        method for method in METHODS if route.matches({**scope, "method": method})[0] is Match.FULL
    }


def _fault(item: dict[str, Any]) -> FieldError:
    """Pydantic's error without the input that it quotes."""
    source, *path = map(str, item["loc"])
    detail, code = validation_error_message(item), validation_error_code(item)
    if source == "body":
        return FieldError(pointer=json_pointer(*path), detail=detail, code=code)
    where = {"header" if source == "header" else "parameter": "".join(path[:1])}
    return FieldError(**where, detail=detail, code=code)


def install_error_handlers(app: FastAPI) -> None:
    """Register the handlers; the middleware renders what escapes them as internal-error."""
    for kind, handler in (
        (ServiceError, _service_error),
        (RequestValidationError, _validation_error),
        (HTTPException, _framework_error),
    ):
        app.add_exception_handler(kind, handler)  # type: ignore[arg-type]


def openapi_problem_responses(*kinds: type[ServiceError]) -> dict[int | str, Answer]:
    """Return the OpenAPI responses of an operation with these problems, bases included."""
    by_status: dict[int | str, dict[str, type[ServiceError]]] = {}
    for base in (base for kind in kinds for base in kind.__mro__):
        if issubclass(base, ServiceError) and base is not ServiceError:
            by_status.setdefault(base.status, {})[base.type] = base
    return {
        status: _response({name: _example(kind) for name, kind in types.items()})
        for status, types in by_status.items()
    }


def merge_problem_responses(one: Answer, other: Answer) -> Answer:
    """Return an OpenAPI response that combines two.

    A response that is not a problem, such as that of a foreign route, keeps what it has, and gets
    the problem as one more media type.
    """
    if PROBLEM_MEDIA_TYPE not in one.get("content", {}):
        return {**other, **one, "content": {**one.get("content", {}), **other["content"]}}
    return _response({**_examples(one), **_examples(other)})


def _example(kind: type[ServiceError]) -> dict[str, Any]:
    members: Answer = {"instance": "/example", "request_id": "0199b2f4c0de7000a000000000000000"}
    if issubclass(kind, InvalidRequest):
        members["errors"] = kind().field_errors or [_FAULT]
    return {"value": _problem(kind, kind.detail, **members).model_dump(exclude_none=True)}


def _examples(answer: Answer) -> dict[str, Any]:
    examples: dict[str, Any] = answer["content"][PROBLEM_MEDIA_TYPE]["examples"]
    return examples


def _response(examples: dict[str, Any]) -> Answer:
    problems = [example["value"] for example in examples.values()]
    schema = {
        "$ref": "#/components/schemas/Problem",
        "properties": {"type": {"enum": [problem["type"] for problem in problems]}},
    }
    return {
        "description": " or ".join(problem["title"] for problem in problems),
        "content": {PROBLEM_MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }
