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
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant, _get_cache_key, _is_coroutine_callable
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, serialize_response
from fastapi.utils import is_body_allowed_for_status_code
from pydantic import BaseModel

from app.core.http._fast_response import FastResponse
from app.core.http._fast_support import is_supported_fastapi_version, is_supported_route
from app.core.http._parameter_readers import ValidationErrors, build_parameter_readers
from app.core.http._sessions import Handler

# Where the arguments of a function are in the list of injectable values of a request. For example
# `{"request": 0, "session": 2}`.
ArgumentIndexes = dict[str, int]

# The injectable values of a request begin with the request itself and the response parameter. The
# results of the dependencies follow.
_REQUEST_INDEX: Final = 0
_RESPONSE_INDEX: Final = 1
_FIRST_RESULT_INDEX: Final = 2
log = logging.getLogger(__name__)


def build_fast_handler(route: APIRoute) -> Handler | None:
    """Return a function that calls the endpoint of a route directly, instead of through FastAPI.

    This is faster. Returns None if the endpoint uses a feature that only FastAPI supports, or if
    the installed version of FastAPI may have features that this module does not know.
    """
    if not is_supported_fastapi_version():
        log.warning("HTTP_FAST_PATH has no effect, because this version of FastAPI is unknown")
        return None
    if not is_supported_route(route):
        return None
    return _EndpointCaller(route).handle


@dataclass(slots=True)
class _DependencyCall:
    """How to call one dependency, for example `create_service(session=injectable_values[2])`."""

    function: Callable[..., Any]
    is_coroutine: bool
    argument_indexes: ArgumentIndexes


class _EndpointCaller:
    """Calls the endpoint of one route and, before it, its dependencies.

    All injectable values of a request (the possible arguments of functions) are in one list. For
    `async def read_book(id: BookId, books: Annotated[BookService, Depends(create_service)])`:

        injectable_values[0]  the request
        injectable_values[1]  the response parameter
        injectable_values[2]  create_session(request=injectable_values[0])
        injectable_values[3]  create_service(session=injectable_values[2])
        result                read_book(id=..., books=injectable_values[3])
    """

    def __init__(self, route: APIRoute) -> None:
        """Plan the calls of the endpoint of a route and of its dependencies.

        The plan is made once, at startup. `handle` then executes it for each request.
        """
        # FastAPI's description of the endpoint, with its parameters and dependencies.
        dependant = route.dependant
        # FastAPI declares the type of `call` as any function or None.
        self._endpoint: Callable[..., Awaitable[Any]] = dependant.call  # type: ignore[assignment]
        # The calls of dependencies that precede the call of the endpoint, in order.
        self._dependency_calls: list[_DependencyCall] = []
        # The index of the result of each dependency in the list of injectable values. FastAPI gives
        # dependencies that may share a result the same key.
        self._result_indexes: dict[Any, int] = {}
        self._argument_indexes = self._plan_arguments(dependant)
        self._parameter_readers = build_parameter_readers(route)
        self._response_field = route.response_field
        self._response_model = route.response_model
        self._status_code = route.status_code or 200

    def _plan_arguments(self, dependant: Dependant) -> ArgumentIndexes:
        """Return where the arguments of a function come from, and plan calls of its dependencies.

        For each request, the list of injectable values contains everything that may be an argument:
        the request, the response parameter and the results of dependencies. The returned dictionary
        has the index of each argument in this list, for example `{"request": 0, "session": 2}`.

        Args:
            dependant: FastAPI's description of the function. It is the endpoint, or a dependency
                that has dependencies itself.
        """
        argument_indexes: ArgumentIndexes = {}
        for dependency in dependant.dependencies:
            result_index = self._plan_call(dependency)
            # A dependency that is declared by `dependencies=[...]` does not have a parameter name,
            # because its result is not passed to the function.
            if dependency.name is not None:
                argument_indexes[dependency.name] = result_index
        if dependant.request_param_name is not None:
            argument_indexes[dependant.request_param_name] = _REQUEST_INDEX
        if dependant.response_param_name is not None:
            argument_indexes[dependant.response_param_name] = _RESPONSE_INDEX
        return argument_indexes

    def _plan_call(self, dependency: Dependant) -> int:
        """Plan the call of a dependency, and return the index of its result.

        This is the index in the list of injectable values: the request, the response parameter, and
        the results of dependencies in the order of their calls. If several functions declare the
        same dependency, it is called once, except for those that declare it with `use_cache=False`.
        """
        cache_key = _get_cache_key(dependant=dependency)
        if dependency.use_cache and cache_key in self._result_indexes:
            return self._result_indexes[cache_key]
        function = dependency.call
        # FastAPI declares the function as optional, but every dependency has one.
        assert function is not None  # noqa: S101 - tells the type checker
        argument_indexes = self._plan_arguments(dependency)
        result_index = _FIRST_RESULT_INDEX + len(self._dependency_calls)
        call = _DependencyCall(function, _is_coroutine_callable(function), argument_indexes)
        self._dependency_calls.append(call)
        # If `use_cache=False` causes a second call, later functions share the first result, as in
        # FastAPI.
        self._result_indexes.setdefault(cache_key, result_index)
        return result_index

    async def handle(self, request: Request) -> Response:
        """Call the dependencies and the endpoint for a request, and return the response.

        Raises `RequestValidationError` if a parameter of the request is not valid.
        """
        response_parameter = _ResponseParameter()
        injectable_values: list[Any] = [request, response_parameter]
        for call in self._dependency_calls:
            arguments = {
                name: injectable_values[index] for name, index in call.argument_indexes.items()
            }
            result = call.function(**arguments)
            if call.is_coroutine:
                result = await result
            injectable_values.append(result)

        arguments = {
            name: injectable_values[index] for name, index in self._argument_indexes.items()
        }
        arguments |= self._read_parameters(request)
        result = await self._endpoint(**arguments)
        if isinstance(result, Response):
            return result
        return await self._build_response(result, response_parameter)

    def _read_parameters(self, request: Request) -> dict[str, Any]:
        """Return the endpoint's path parameters, query model and JSON body, by parameter name.

        Raises `RequestValidationError` with the errors of all parameters that are not valid.
        """
        arguments = {}
        all_errors: ValidationErrors = []
        for name, read_parameter in self._parameter_readers.items():
            arguments[name], errors = read_parameter(request)
            all_errors += errors
        if all_errors:
            raise RequestValidationError(all_errors)
        return arguments

    async def _build_response(self, result: Any, response_parameter: Response) -> Response:
        """Build the response for the model that the endpoint returned.

        Args:
            result: The model, or None if the endpoint responds without content.
            response_parameter: The object on which the endpoint may have set headers and a status
                code for the response.
        """
        status_code = response_parameter.status_code or self._status_code
        content = b""
        if self._response_field is not None and is_body_allowed_for_status_code(status_code):
            content = await self._serialize_result(result)
        return FastResponse(content, status_code, response_parameter.raw_headers)

    async def _serialize_result(self, result: Any) -> bytes:
        """Convert the value that the endpoint returned to JSON.

        An instance of the response model was validated when it was created, so it is serialized
        directly. FastAPI validates any other value, for example a dict, before serializing it.
        """
        if type(result) is self._response_model and isinstance(result, BaseModel):
            # The serializer returns bytes. `result.model_dump_json()` would convert them to str.
            return result.__pydantic_serializer__.to_json(result, by_alias=True)
        content: bytes = await serialize_response(
            field=self._response_field, response_content=result, dump_json=True
        )
        return content


class _ResponseParameter(Response):
    """Collects the headers and the status code that an endpoint sets on its `response` parameter.

    It is not sent. `_EndpointCaller` copies the headers and the status code to the response that it
    builds from the result of the endpoint.
    """

    def __init__(self) -> None:
        # The constructor of `Response` is not called, because it would add headers.
        self.raw_headers = []
        # None means that the endpoint has not set a status code. `Response` declares an integer.
        self.status_code = None  # type: ignore[assignment]
        self.body = b""
        self.background = None
