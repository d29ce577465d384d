"""Readers of the path, query and body parameters of endpoints that the HTTP fast path calls."""

from collections.abc import Callable
from typing import Any

from fastapi import Request
from fastapi._compat import ModelField
from fastapi.routing import APIRoute
from pydantic import BaseModel

from app.core.http._bodies import ParsedRequest
from app.core.http._query import find_query_model, query_model_parameters

# Errors of Pydantic, for example `{"type": "missing", "loc": ("query", "author_id"), ...}`.
ValidationErrors = list[dict[str, Any]]
# Reads one parameter from a request. Returns its value, and the errors that make it invalid.
ParameterReader = Callable[[Request], tuple[Any, ValidationErrors]]


def build_parameter_readers(route: APIRoute) -> dict[str, ParameterReader]:
    """Return a function for each parameter of an endpoint, which reads it from a request.

    For `async def update_book(id: BookId, data: BookUpdate)`, the result is
    `{"id": <function that reads the path>, "data": <function that reads the body>}`.
    """
    dependant = route.dependant
    readers = {field.name: _build_path_reader(field) for field in dependant.path_params}
    query_model = find_query_model(dependant)
    if query_model is not None:
        # FastAPI does not combine a query model with other query parameters.
        [query_field] = dependant.query_params
        readers[query_field.name] = _build_query_reader(query_field, query_model)
    if dependant.body_params:
        # An endpoint that declares several parameters for the body is called by FastAPI instead.
        [body_field] = dependant.body_params
        readers[body_field.name] = _build_body_reader(body_field)
    return readers


def _build_path_reader(field: ModelField) -> ParameterReader:
    """Return a function that validates a path parameter, for example the `id` of `/books/{id}`.

    `field` is FastAPI's description of the parameter.
    """

    def read_path_parameter(request: Request) -> tuple[Any, ValidationErrors]:
        text = request.scope["path_params"][field.alias]
        return field.validate(text, loc=("path", field.alias))

    return read_path_parameter


def _build_query_reader(field: ModelField, query_model: type[BaseModel]) -> ParameterReader:
    """Return a function that creates a query model from the query string of a request.

    Args:
        field: FastAPI's description of the parameter to which the query model belongs.
        query_model: The Pydantic model, for example `BookQuery`.
    """
    repeatable_names = {
        name for name, is_repeatable in query_model_parameters(query_model).items() if is_repeatable
    }

    def read_query(request: Request) -> tuple[Any, ValidationErrors]:
        query_values = {}
        # Most requests have no query string. Skipping the parser makes them faster.
        if request.scope["query_string"]:
            query_values = _read_query_values(request, repeatable_names)
        return field.validate(query_values, loc=("query",))

    return read_query


def _read_query_values(request: Request, repeatable_names: set[str]) -> dict[str, Any]:
    """Return the values in the query string of a request, before they are validated.

    The value of a repeatable parameter is a list. If another parameter is repeated, the last value
    counts. For example, `?tag=a&tag=b&page=1&page=2` becomes `{"tag": ["a", "b"], "page": "2"}`
    with the repeatable name "tag".
    """
    query_values: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name in repeatable_names:
            query_values.setdefault(name, []).append(value)
        else:
            query_values[name] = value
    return query_values


def _build_body_reader(field: ModelField) -> ParameterReader:
    """Return a function that validates the JSON body of a request.

    `field` is FastAPI's description of the parameter that receives the body.
    """

    def read_body(request: Request) -> tuple[Any, ValidationErrors]:
        # `Route` parses the body of each request before it calls an endpoint that takes one.
        assert isinstance(request, ParsedRequest)  # noqa: S101 - tells the type checker
        return field.validate(request.parsed_body, loc=("body",))

    return read_body
