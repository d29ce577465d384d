"""The endpoint fast path: how a route calls its endpoint, compiled once per route.

What it replaces. For every request FastAPI walks the tree of a route's dependencies, opens two
exit stacks, looks for path, query, header and cookie parameters at every level, and validates the
returned model once more before it serializes it. None of this depends on the request.
`compile_handler` walks FastAPI's own `Dependant` once, and returns a flat handler: call the
dependencies in FastAPI's order, validate the parameters of the endpoint, call it, and turn the
returned model into bytes.

What it gains. `python -m benchmarks.changes` measures it; the figures are in
docs/architecture.md. The setting HTTP_FAST_PATH switches it off.

What it supports. Coroutine functions with path parameters, one query model and one JSON body, whose
dependencies are coroutine functions or classes that take the request, the response and other
dependencies. FastAPI itself handles every other route: forms, headers, background tasks, `yield`.

What it relies on. `Dependant`, its cache key, `ModelField.validate` and `serialize_response` are
not public in FastAPI, which is pinned. An upgrade that renames one fails at import; one that adds a
field to `Dependant` switches the fast path off with a warning; one that changes a meaning fails the
differential test, tests/core/test_fast_dispatch.py.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, fields
from inspect import isclass
from typing import Any, Final

from fastapi import Request, Response, params
from fastapi._compat import ModelField
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant, _get_cache_key, _is_coroutine_callable
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, serialize_response
from fastapi.utils import is_body_allowed_for_status_code
from pydantic import BaseModel

from app.core.http._bodies import ParsedRequest
from app.core.http._query import is_sequence, query_fields, query_model
from app.core.http._sessions import Handler

Errors = list[dict[str, Any]]
# Returns a value of the request, or the errors of its validation.
ReadParameter = Callable[[Request], tuple[Any, Errors]]

# The fields of `Dependant` that a plan takes into account, and those it leaves to FastAPI if set.
_SUPPORTED_FIELDS: Final = {
    *("path_params", "query_params", "body_params", "dependencies", "name", "call", "path"),
    *("scope", "use_cache", "concurrency", "request_param_name", "response_param_name"),
}
_UNSUPPORTED_FIELDS: Final = {
    *("header_params", "cookie_params", "background_tasks_param_name", "websocket_param_name"),
    *("http_connection_param_name", "security_scopes_param_name"),
    *("own_oauth_scopes", "parent_oauth_scopes"),
}
_NO_CONTENT: Final = 204
# Places in the list of values that a request's calls take their arguments from.
_REQUEST: Final = 0
_RESPONSE: Final = 1
log = logging.getLogger(__name__)


class _Unsupported(Exception):
    """The route needs something that only FastAPI's own dispatch can do."""


@dataclass(slots=True)
class _Call:
    """A dependency: what to call, and which earlier values its arguments are."""

    function: Callable[..., Any]
    is_coroutine: bool
    arguments: list[tuple[str, int]]


def compile_handler(route: APIRoute) -> Handler | None:
    """Return the compiled handler of a route, or None if FastAPI has to handle it."""
    if {field.name for field in fields(Dependant)} != _SUPPORTED_FIELDS | _UNSUPPORTED_FIELDS:
        log.warning("this version of FastAPI is not known: HTTP_FAST_PATH has no effect")
        return None
    try:
        plan = _Plan(route)
    except _Unsupported:
        return None
    return plan.handle


class _Plan:
    """The calls of one route, in order."""

    def __init__(self, route: APIRoute) -> None:
        dependant = route.dependant
        if not _is_coroutine_callable(dependant.call) or _has_special_response(route):
            raise _Unsupported
        self._endpoint: Callable[..., Awaitable[Any]] = dependant.call  # type: ignore[assignment]
        self._calls: list[_Call] = []
        self._places: dict[Any, int] = {}
        self._arguments = self._compile_arguments(dependant)
        self._parameters = list(_compile_parameters(route))
        self._response_field = route.response_field
        self._response_model = route.response_model
        self._status_code = route.status_code or 200

    async def handle(self, request: Request) -> Response:
        """Call the dependencies and the endpoint, and build the response."""
        injected = _InjectedResponse()
        values: list[Any] = [request, injected]
        for call in self._calls:
            result = call.function(**{name: values[place] for name, place in call.arguments})
            values.append(await result if call.is_coroutine else result)
        arguments = {name: values[place] for name, place in self._arguments}
        errors: Errors = []
        for name, read in self._parameters:
            arguments[name], parameter_errors = read(request)
            errors += parameter_errors
        if errors:
            raise RequestValidationError(errors)
        return await self._respond(await self._endpoint(**arguments), injected)

    async def _respond(self, result: Any, injected: Response) -> Response:
        if isinstance(result, Response):
            return result
        status_code = injected.status_code or self._status_code
        content = None if self._response_field is None else await self._serialize(result)
        # FastAPI states a media type even for a response without content.
        response = Response(content, status_code, media_type="application/json")
        if not is_body_allowed_for_status_code(status_code):
            response.body = b""
        response.raw_headers.extend(injected.raw_headers)
        return response

    async def _serialize(self, result: Any) -> bytes:
        if type(result) is self._response_model and isinstance(result, BaseModel):
            # An instance of the response model itself has been validated already.
            return result.__pydantic_serializer__.to_json(result, by_alias=True)
        content: bytes = await serialize_response(
            field=self._response_field, response_content=result, dump_json=True
        )
        return content

    def _compile_arguments(self, dependant: Dependant) -> list[tuple[str, int]]:
        """Add the calls that a dependant needs, and return where its arguments come from."""
        if any(getattr(dependant, field) for field in _UNSUPPORTED_FIELDS):
            raise _Unsupported
        arguments = []
        for dependency in dependant.dependencies:
            place = self._compile_call(dependency)
            if dependency.name is not None:
                arguments.append((dependency.name, place))
        if dependant.request_param_name is not None:
            arguments.append((dependant.request_param_name, _REQUEST))
        if dependant.response_param_name is not None:
            arguments.append((dependant.response_param_name, _RESPONSE))
        return arguments

    def _compile_call(self, dependency: Dependant) -> int:
        """Add the call of a dependency, unless it is there already. Return its value's place."""
        key = _get_cache_key(dependant=dependency)
        if dependency.use_cache and key in self._places:
            return self._places[key]
        parameters = [*dependency.path_params, *dependency.query_params, *dependency.body_params]
        if parameters or dependency.concurrency is not None:
            raise _Unsupported
        is_coroutine = _is_coroutine_callable(dependency.call)
        # FastAPI runs other callables in a thread. A class is called directly here, because the
        # constructors of services and repositories do not block.
        if dependency.call is None or not (is_coroutine or isclass(dependency.call)):
            raise _Unsupported
        arguments = self._compile_arguments(dependency)
        self._calls.append(_Call(dependency.call, is_coroutine, arguments))
        place = _RESPONSE + len(self._calls)
        self._places.setdefault(key, place)
        return place


class _InjectedResponse(Response):
    """The `response` parameter of an endpoint: it collects headers and a status code."""

    def __init__(self) -> None:
        self.status_code = None  # type: ignore[assignment]
        self.raw_headers = []
        self.body = b""
        self.background = None


def _has_special_response(route: APIRoute) -> bool:
    """Return whether the response is built in a way that only FastAPI knows."""
    options = (
        route.is_json_stream,
        route.is_sse_stream,
        route.max_body_size,
        route.response_model_include,
        route.response_model_exclude,
        not route.response_model_by_alias,
        route.response_model_exclude_unset,
        route.response_model_exclude_defaults,
        route.response_model_exclude_none,
        not isinstance(route.response_class, DefaultPlaceholder),
        route.response_field is None and route.status_code != _NO_CONTENT,
    )
    return any(options)


def _compile_parameters(route: APIRoute) -> Iterable[tuple[str, ReadParameter]]:
    """Return the parameters of an endpoint: its path, its query model and its JSON body."""
    dependant = route.dependant
    for field in dependant.path_params:
        yield field.name, _path_reader(field)
    if dependant.query_params:
        model = query_model(dependant)
        if model is None or len(dependant.query_params) > 1:
            raise _Unsupported
        yield dependant.query_params[0].name, _query_reader(dependant.query_params[0], model)
    if dependant.body_params:
        field = dependant.body_params[0]
        # Several body parameters, or an embedded one, are combined in another field.
        if field is not route.body_field or isinstance(field.field_info, params.Form):
            raise _Unsupported
        yield field.name, _body_reader(field)


def _path_reader(field: ModelField) -> ReadParameter:
    def read(request: Request) -> tuple[Any, Errors]:
        return field.validate(request.scope["path_params"][field.alias], loc=("path", field.alias))

    return read


def _query_reader(field: ModelField, model: type[BaseModel]) -> ReadParameter:
    sequences = {name for name, item in query_fields(model).items() if is_sequence(item.annotation)}

    def read(request: Request) -> tuple[Any, Errors]:
        values: dict[str, Any] = {}
        if request.scope["query_string"]:
            for name, value in request.query_params.multi_items():
                if name in sequences:
                    values.setdefault(name, []).append(value)
                else:
                    values[name] = value
        return field.validate(values, loc=("query",))

    return read


def _body_reader(field: ModelField) -> ReadParameter:
    def read(request: Request) -> tuple[Any, Errors]:
        assert isinstance(request, ParsedRequest)  # noqa: S101 - the route parses bodies first
        return field.validate(request.value, loc=("body",))

    return read
