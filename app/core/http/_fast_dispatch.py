"""The endpoint fast path: how a route calls its endpoint, compiled once instead of found out anew.

What it replaces. For every request FastAPI walks the tree of a route's dependencies, opens two
exit stacks, looks for path, query, header and cookie parameters at every level, and validates the
returned model once more before it serializes it. None of this depends on the request.
`compile_handler` does the walk once per route, on FastAPI's own `Dependant`, and returns a flat
handler: call the dependencies in FastAPI's order, validate the parameters of the endpoint, call
it, and turn the returned model into bytes.

What it gains. `python -m benchmarks.access --switch HTTP_FAST_PATH` measures requests with and
without it; docs/architecture.md has the figures. The setting HTTP_FAST_PATH switches it off.

What it supports: exactly the endpoints that our Router is used for. A dependency is a coroutine
function or a class, without parameters other than the request, the response and further
dependencies. An endpoint is a coroutine function with path parameters, one query model, one JSON
body. `compile_handler` returns None for anything else, and FastAPI handles such a route itself: for
example dependencies with `yield`, forms, headers, background tasks.

What it relies on. `Dependant`, its cache key, `ModelField.validate` and `serialize_response` are
not part of FastAPI's public interface. FastAPI is pinned. An upgrade that renames one of them fails
at import; one that adds a field to `Dependant` switches the fast path off and logs a warning;
one that changes their meaning fails the differential test, tests/core/test_fast_dispatch.py.
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
from pydantic import BaseModel

from app.core.http._bodies import ParsedRequest
from app.core.http._query import is_sequence, query_model
from app.core.http._sessions import Handler

# A value of the request and the errors of its validation.
ReadParameter = Callable[[Request], tuple[Any, list[dict[str, Any]]]]

_KNOWN_FIELDS: Final = {
    *("path_params", "query_params", "header_params", "cookie_params", "body_params"),
    *("dependencies", "name", "call", "path", "scope", "use_cache", "concurrency"),
    *("request_param_name", "response_param_name", "websocket_param_name"),
    *("http_connection_param_name", "background_tasks_param_name"),
    *("security_scopes_param_name", "own_oauth_scopes", "parent_oauth_scopes"),
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
    if {field.name for field in fields(Dependant)} != _KNOWN_FIELDS:
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
        self._needs_response = any(
            place == _RESPONSE
            for arguments in [self._arguments, *(call.arguments for call in self._calls)]
            for _, place in arguments
        )
        self._response_field = route.response_field
        self._response_model = route.response_model
        self._status_code = route.status_code or 200

    async def handle(self, request: Request) -> Response:
        """Call the dependencies and the endpoint, and build the response."""
        injected = _InjectedResponse() if self._needs_response else None
        values: list[Any] = [request, injected]
        for call in self._calls:
            result = call.function(**{name: values[place] for name, place in call.arguments})
            values.append(await result if call.is_coroutine else result)
        arguments = {name: values[place] for name, place in self._arguments}
        errors: list[dict[str, Any]] = []
        for name, read in self._parameters:
            arguments[name], parameter_errors = read(request)
            errors += parameter_errors
        if errors:
            raise RequestValidationError(errors)
        return await self._respond(await self._endpoint(**arguments), injected)

    async def _respond(self, result: Any, injected: Response | None) -> Response:
        if isinstance(result, Response):
            return result
        status_code = (injected and injected.status_code) or self._status_code
        if self._response_field is None:
            # FastAPI states a type also for a response without content.
            response = Response(status_code=status_code, media_type="application/json")
        else:
            content = await self._serialize(result)
            response = Response(content, status_code, media_type="application/json")
        if injected is not None:
            response.raw_headers.extend(injected.raw_headers)
        return response

    async def _serialize(self, result: Any) -> bytes:
        if type(result) is self._response_model and isinstance(result, BaseModel):
            # An instance of the response model itself has been validated already.
            return result.__pydantic_serializer__.to_json(result)
        content: bytes = await serialize_response(
            field=self._response_field, response_content=result, dump_json=True
        )
        return content

    def _compile_arguments(self, dependant: Dependant) -> list[tuple[str, int]]:
        """Add the calls that a dependant needs, and return where its arguments come from."""
        _check_arguments(dependant)
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
        if _parameters_of(dependency) or dependency.concurrency is not None:
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
    returns_model = route.response_field is not None
    return (
        not isinstance(route.response_class, DefaultPlaceholder)
        or not (returns_model or route.status_code == _NO_CONTENT)
        or route.is_json_stream
        or route.is_sse_stream
        or route.max_body_size is not None
        or route.response_model_include is not None
        or route.response_model_exclude is not None
        or not route.response_model_by_alias
        or route.response_model_exclude_unset
        or route.response_model_exclude_defaults
        or route.response_model_exclude_none
    )


def _check_arguments(dependant: Dependant) -> None:
    unsupported = (
        dependant.header_params,
        dependant.cookie_params,
        dependant.websocket_param_name,
        dependant.http_connection_param_name,
        dependant.background_tasks_param_name,
        dependant.security_scopes_param_name,
        dependant.own_oauth_scopes,
        dependant.parent_oauth_scopes,
    )
    if any(unsupported):
        raise _Unsupported


def _parameters_of(dependant: Dependant) -> list[ModelField]:
    return [*dependant.path_params, *dependant.query_params, *dependant.body_params]


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
        is_form = isinstance(field.field_info, params.Form)
        if len(dependant.body_params) > 1 or field is not route.body_field or is_form:
            raise _Unsupported
        yield field.name, _body_reader(field)


def _path_reader(field: ModelField) -> ReadParameter:
    def read(request: Request) -> tuple[Any, list[dict[str, Any]]]:
        value = request.scope["path_params"][field.alias]
        return field.validate(value, loc=("path", field.alias))

    return read


def _query_reader(field: ModelField, model: type[BaseModel]) -> ReadParameter:
    sequences = {name for name, item in model.model_fields.items() if is_sequence(item.annotation)}

    def read(request: Request) -> tuple[Any, list[dict[str, Any]]]:
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
    def read(request: Request) -> tuple[Any, list[dict[str, Any]]]:
        assert isinstance(request, ParsedRequest)  # noqa: S101 - the route parses bodies first
        return field.validate(request.value, loc=("body",))

    return read
