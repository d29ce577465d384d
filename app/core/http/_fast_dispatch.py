"""The HTTP fast path: calls endpoints without FastAPI's work per request.

For every request, FastAPI walks the tree of a route's dependencies, opens two exit stacks, looks
for path, query, header and cookie parameters at every level, and validates the returned model once
more before it serializes it. None of this depends on the request. `build_fast_handler` therefore
walks FastAPI's own description of the endpoint (`Dependant`) once, at startup. The handler that it
returns calls the dependencies in FastAPI's order, validates the parameters, calls the endpoint, and
serializes the returned model.

docs/architecture.md has measurements. The setting HTTP_FAST_PATH=false switches the fast path off.
`_fast_support.py` states which endpoints it supports. FastAPI itself handles all others.

`Dependant`, its cache key, `ModelField.validate` and `serialize_response` are not public in
FastAPI, which is therefore pinned to one version. If an upgrade renames one of them, the import
fails. If it adds a field to `Dependant`, the fast path is switched off with a warning. If it
changes the meaning of one, tests/core/test_fast_dispatch.py fails, which compares responses with
those of FastAPI.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request, Response
from fastapi._compat import ModelField
from fastapi.dependencies.models import Dependant, _get_cache_key, _is_coroutine_callable
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, serialize_response
from fastapi.utils import is_body_allowed_for_status_code
from pydantic import BaseModel

from app.core.http._bodies import ParsedRequest
from app.core.http._fast_support import is_supported_fastapi_version, is_supported_route
from app.core.http._query import find_query_model, query_model_parameters
from app.core.http._sessions import Handler

# Pydantic's errors, as dictionaries.
Errors = list[dict[str, Any]]
# Reads one parameter of a request. The value is valid if the list of errors is empty.
ParameterReader = Callable[[Request], tuple[Any, Errors]]
# The name of a parameter, and the index of its argument in the values of a request.
ArgumentIndex = tuple[str, int]

# The values of a request: the request, the response parameter, the result of each dependency.
_REQUEST_INDEX: Final = 0
_RESPONSE_INDEX: Final = 1
_FIRST_RESULT_INDEX: Final = 2
log = logging.getLogger(__name__)


def build_fast_handler(route: APIRoute) -> Handler | None:
    """Return a handler that calls the endpoint of a route without FastAPI.

    Returns None if the endpoint uses a feature that only FastAPI supports.
    """
    if not is_supported_fastapi_version():
        log.warning("HTTP_FAST_PATH has no effect: this version of FastAPI is unknown")
        return None
    if not is_supported_route(route):
        return None
    return _EndpointCaller(route).handle


@dataclass(slots=True)
class _DependencyCall:
    """How to call one dependency, for example `create_service(session=values[2])`."""

    function: Callable[..., Any]
    is_coroutine: bool
    argument_indexes: list[ArgumentIndex]


class _EndpointCaller:
    """Calls the endpoint of one route and, before it, its dependencies.

    All values of a request are in one list, so that arguments are found by index. For
    `async def read_book(id: BookId, books: Annotated[BookService, Depends(create_service)])`:

        values[0]  the request
        values[1]  the response parameter
        values[2]  create_session(request=values[0])
        values[3]  create_service(session=values[2])
        result     read_book(id=..., books=values[3])
    """

    def __init__(self, route: APIRoute) -> None:
        dependant = route.dependant
        self._endpoint: Callable[..., Awaitable[Any]] = dependant.call  # type: ignore[assignment]
        self._dependency_calls: list[_DependencyCall] = []
        self._result_indexes: dict[Any, int] = {}
        self._argument_indexes = self._add_dependencies(dependant)
        self._parameter_readers = list(_parameter_readers(route))
        self._response_field = route.response_field
        self._response_model = route.response_model
        self._status_code = route.status_code or 200

    def _add_dependencies(self, dependant: Dependant) -> list[ArgumentIndex]:
        """Add the calls of a function's dependencies. Return where its arguments come from."""
        argument_indexes = []
        for dependency in dependant.dependencies:
            index = self._add_dependency(dependency)
            # A dependency that is only listed in `dependencies=[...]` is not an argument.
            if dependency.name is not None:
                argument_indexes.append((dependency.name, index))
        if dependant.request_param_name is not None:
            argument_indexes.append((dependant.request_param_name, _REQUEST_INDEX))
        if dependant.response_param_name is not None:
            argument_indexes.append((dependant.response_param_name, _RESPONSE_INDEX))
        return argument_indexes

    def _add_dependency(self, dependency: Dependant) -> int:
        """Add the call of a dependency, unless it can share an earlier one.

        Returns the index of the dependency's result in the values of a request.
        """
        cache_key = _get_cache_key(dependant=dependency)
        if dependency.use_cache and cache_key in self._result_indexes:
            return self._result_indexes[cache_key]
        assert dependency.call is not None  # noqa: S101 - only the root of an application has none
        argument_indexes = self._add_dependencies(dependency)
        index = _FIRST_RESULT_INDEX + len(self._dependency_calls)
        is_coroutine = _is_coroutine_callable(dependency.call)
        call = _DependencyCall(dependency.call, is_coroutine, argument_indexes)
        self._dependency_calls.append(call)
        self._result_indexes.setdefault(cache_key, index)
        return index

    async def handle(self, request: Request) -> Response:
        """Call the dependencies and the endpoint, and return the response.

        Raises `RequestValidationError` with the errors of all parameters.
        """
        response_parameter = _ResponseParameter()
        values: list[Any] = [request, response_parameter]
        for call in self._dependency_calls:
            result = call.function(**{name: values[index] for name, index in call.argument_indexes})
            if call.is_coroutine:
                result = await result
            values.append(result)
        arguments = {name: values[index] for name, index in self._argument_indexes}
        errors: Errors = []
        for name, read_parameter in self._parameter_readers:
            arguments[name], parameter_errors = read_parameter(request)
            errors += parameter_errors
        if errors:
            raise RequestValidationError(errors)
        result = await self._endpoint(**arguments)
        if isinstance(result, Response):
            return result
        return await self._build_response(result, response_parameter)

    async def _build_response(self, result: Any, response_parameter: Response) -> Response:
        """Build the response for the model that the endpoint returned, or for None.

        It has the headers and the status code that the endpoint set on its `response` parameter.
        """
        status_code = response_parameter.status_code or self._status_code
        content = None
        if self._response_field is not None and is_body_allowed_for_status_code(status_code):
            content = await self._serialize(result)
        # FastAPI sends a Content-Type even with a response that has no content.
        response = Response(content, status_code, media_type="application/json")
        response.raw_headers.extend(response_parameter.raw_headers)
        return response

    async def _serialize(self, result: Any) -> bytes:
        """Return the JSON of the value that the endpoint returned."""
        # An instance of the response model was validated by its constructor.
        if type(result) is self._response_model and isinstance(result, BaseModel):
            return result.__pydantic_serializer__.to_json(result, by_alias=True)
        content: bytes = await serialize_response(
            field=self._response_field, response_content=result, dump_json=True
        )
        return content


class _ResponseParameter(Response):
    """The argument for `response: Response` of an endpoint or dependency.

    It is not sent. It collects the headers and the status code that they set, and a status code of
    None means that they set none. The constructor of `Response` would add headers of its own.
    """

    def __init__(self) -> None:
        self.status_code = None  # type: ignore[assignment]
        self.raw_headers = []
        self.body = b""
        self.background = None


def _parameter_readers(route: APIRoute) -> Iterator[tuple[str, ParameterReader]]:
    """Yield the name and the reader of each parameter that an endpoint takes from the request.

    These are its path parameters, its query model and its JSON body.
    """
    dependant = route.dependant
    for field in dependant.path_params:
        yield field.name, _path_reader(field)
    model = find_query_model(dependant)
    if model is not None:
        [field] = dependant.query_params
        yield field.name, _query_reader(field, model)
    if dependant.body_params:
        [field] = dependant.body_params
        yield field.name, _body_reader(field)


def _path_reader(field: ModelField) -> ParameterReader:
    """Return a function that reads a path parameter, for example the `id` of `/books/{id}`."""

    def read_path_parameter(request: Request) -> tuple[Any, Errors]:
        value = request.scope["path_params"][field.alias]
        return field.validate(value, loc=("path", field.alias))

    return read_path_parameter


def _query_reader(field: ModelField, model: type[BaseModel]) -> ParameterReader:
    """Return a function that reads the query string into a query model.

    `?tag=a&tag=b` becomes a list for a field that may be repeated. For other fields, the last
    value counts.
    """
    repeatable_names = {
        name for name, repeatable in query_model_parameters(model).items() if repeatable
    }

    def read_query(request: Request) -> tuple[Any, Errors]:
        values: dict[str, Any] = {}
        # Most requests have no query string, so it is parsed only if there is one.
        if request.scope["query_string"]:
            for name, value in request.query_params.multi_items():
                if name in repeatable_names:
                    values.setdefault(name, []).append(value)
                else:
                    values[name] = value
        return field.validate(values, loc=("query",))

    return read_query


def _body_reader(field: ModelField) -> ParameterReader:
    """Return a function that validates the JSON body, which the route has parsed already."""

    def read_body(request: Request) -> tuple[Any, Errors]:
        assert isinstance(request, ParsedRequest)  # noqa: S101 - narrows the type
        return field.validate(request.value, loc=("body",))

    return read_body
