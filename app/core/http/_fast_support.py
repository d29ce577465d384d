"""Decides which endpoints the fast path of `_fast_dispatch.py` can call instead of FastAPI."""

from dataclasses import fields
from inspect import isclass
from typing import Final

from fastapi import params
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant, _is_coroutine_callable
from fastapi.routing import APIRoute
from fastapi.utils import is_body_allowed_for_status_code

from app.core.http._query import find_query_model

# The fast path reads these fields of `Dependant`, FastAPI's description of a function.
_SUPPORTED_FIELDS: Final = {
    *("path_params", "query_params", "body_params", "dependencies", "name", "call", "path"),
    *("scope", "use_cache", "request_param_name", "response_param_name"),
}
# These fields of `Dependant` are features of FastAPI that the fast path does not have.
_UNSUPPORTED_FIELDS: Final = {
    *("header_params", "cookie_params", "background_tasks_param_name", "websocket_param_name"),
    *("http_connection_param_name", "security_scopes_param_name"),
    *("own_oauth_scopes", "parent_oauth_scopes", "concurrency"),
}


def is_supported_fastapi_version() -> bool:
    """Return whether the fast path knows every feature of the installed version of FastAPI.

    FastAPI describes what a function uses, for example its header parameters, by the fields of
    `Dependant`. A field that a newer version adds may be a feature that the fast path would ignore.
    """
    return {field.name for field in fields(Dependant)} == _SUPPORTED_FIELDS | _UNSUPPORTED_FIELDS


def is_supported_route(route: APIRoute) -> bool:
    """Return whether the fast path can call the endpoint of a route exactly as FastAPI would.

    The endpoint has to be a coroutine function that returns its response model or a response. It
    may take path parameters, one query model, one JSON body, and dependencies that are supported
    themselves. Forms, header parameters, background tasks and dependencies with `yield`, for
    example, are not supported.
    """
    endpoint = route.dependant
    return (
        _is_coroutine_callable(endpoint.call)
        and not _uses_unsupported_feature(endpoint)
        and not _has_unsupported_option(route)
        and _has_supported_query(endpoint)
        and _has_supported_body(route)
        and all(_is_supported_dependency(dependency) for dependency in endpoint.dependencies)
    )


def _is_supported_dependency(dependency: Dependant) -> bool:
    """Return whether the fast path can call a dependency of an endpoint instead of FastAPI.

    The dependency has to be a coroutine function or a class. Its arguments may be the request, the
    response, and further dependencies that are supported themselves.
    """
    # FastAPI calls the constructor of a class in a thread. The fast path calls it directly, because
    # constructors of services do not block.
    is_callable_directly = _is_coroutine_callable(dependency.call) or isclass(dependency.call)
    takes_parameters = bool(
        dependency.path_params or dependency.query_params or dependency.body_params
    )
    return (
        is_callable_directly
        and not takes_parameters
        and not _uses_unsupported_feature(dependency)
        and all(_is_supported_dependency(child) for child in dependency.dependencies)
    )


def _uses_unsupported_feature(dependant: Dependant) -> bool:
    """Return whether an endpoint or dependency uses a feature that the fast path does not have.

    For example, `header_params` is not empty if the function takes a header parameter.
    """
    return any(getattr(dependant, feature) for feature in _UNSUPPORTED_FIELDS)


def _has_unsupported_option(route: APIRoute) -> bool:
    """Return whether a route is declared with an option that the fast path does not apply.

    For example `response_model_exclude_none=True`, or a response class other than FastAPI's
    default.
    """
    has_own_response_class = not isinstance(route.response_class, DefaultPlaceholder)
    # Without a response model, only FastAPI can find out how to serialize the result.
    has_body_without_model = route.response_field is None and is_body_allowed_for_status_code(
        route.status_code
    )
    unsupported_options = (
        has_own_response_class,
        has_body_without_model,
        route.max_body_size,
        route.response_model_include,
        route.response_model_exclude,
        not route.response_model_by_alias,
        route.response_model_exclude_unset,
        route.response_model_exclude_defaults,
        route.response_model_exclude_none,
    )
    return any(unsupported_options)


def _has_supported_query(endpoint: Dependant) -> bool:
    """Return whether the fast path can read the query parameters of an endpoint.

    It supports endpoints without query parameters, and endpoints that declare them as one model,
    for example `query: Annotated[BookQuery, Query()]`.
    """
    if not endpoint.query_params:
        return True
    return len(endpoint.query_params) == 1 and find_query_model(endpoint) is not None


def _has_supported_body(route: APIRoute) -> bool:
    """Return whether the fast path can read the request body of an endpoint.

    It supports endpoints without a body, and endpoints that declare the whole body as one JSON
    model, for example `data: BookCreate`.
    """
    if not route.dependant.body_params:
        return True
    first_parameter = route.dependant.body_params[0]
    # If the body contains several parameters, FastAPI's `body_field` is a model that combines them.
    is_whole_body = first_parameter is route.body_field
    is_form = isinstance(first_parameter.field_info, params.Form)
    return is_whole_body and not is_form
