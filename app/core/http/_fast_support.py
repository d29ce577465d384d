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

# The fields of FastAPI's `Dependant` (one function with its parameters) that the fast path reads.
_SUPPORTED_FIELDS: Final = {
    *("path_params", "query_params", "body_params", "dependencies", "name", "call", "path"),
    *("scope", "use_cache", "request_param_name", "response_param_name"),
}
# The fields of `Dependant` that stand for features of FastAPI which the fast path does not have.
_UNSUPPORTED_FIELDS: Final = {
    *("header_params", "cookie_params", "background_tasks_param_name", "websocket_param_name"),
    *("http_connection_param_name", "security_scopes_param_name"),
    *("own_oauth_scopes", "parent_oauth_scopes", "concurrency"),
}


def is_supported_fastapi_version() -> bool:
    """Return whether `Dependant` has exactly the fields that this module knows.

    A new field may stand for a new feature, which the fast path would ignore silently.
    """
    return {field.name for field in fields(Dependant)} == _SUPPORTED_FIELDS | _UNSUPPORTED_FIELDS


def is_supported_route(route: APIRoute) -> bool:
    """Return whether the fast path can call the endpoint of a route as FastAPI would.

    The endpoint has to be a coroutine function that returns its response model or a response. It
    may take path parameters, one query model, one JSON body, and dependencies that are supported
    themselves. Everything else is left to FastAPI: for example forms, header parameters,
    background tasks and dependencies with `yield`.
    """
    dependant = route.dependant
    return (
        _is_coroutine_callable(dependant.call)
        and not _uses_unsupported_feature(dependant)
        and not _has_unsupported_option(route)
        and _has_supported_query(dependant)
        and _has_supported_body(route)
        and all(_is_supported_dependency(dependency) for dependency in dependant.dependencies)
    )


def _is_supported_dependency(dependency: Dependant) -> bool:
    """Return whether the fast path can call a dependency and the dependencies below it.

    It can if each is a coroutine function or a class, and takes no other arguments than the
    request, the response and further dependencies. FastAPI would run the constructor of a class in
    a thread. The fast path calls it directly, because constructors of services do not block.
    """
    takes_parameters = bool(
        dependency.path_params or dependency.query_params or dependency.body_params
    )
    return (
        (_is_coroutine_callable(dependency.call) or isclass(dependency.call))
        and not takes_parameters
        and not _uses_unsupported_feature(dependency)
        and all(_is_supported_dependency(child) for child in dependency.dependencies)
    )


def _uses_unsupported_feature(dependant: Dependant) -> bool:
    """Return whether a function takes, for example, a header parameter or background tasks."""
    return any(getattr(dependant, field) for field in _UNSUPPORTED_FIELDS)


def _has_unsupported_option(route: APIRoute) -> bool:
    """Return whether a route has an option that only FastAPI's own dispatch applies.

    An example is `response_model_exclude_none`, or a response class other than FastAPI's default.
    """
    has_response_class = not isinstance(route.response_class, DefaultPlaceholder)
    # Without a response model, FastAPI converts the result by the type that it happens to have.
    has_body_without_model = route.response_field is None and is_body_allowed_for_status_code(
        route.status_code
    )
    options = (
        has_response_class,
        has_body_without_model,
        route.max_body_size,
        route.response_model_include,
        route.response_model_exclude,
        not route.response_model_by_alias,
        route.response_model_exclude_unset,
        route.response_model_exclude_defaults,
        route.response_model_exclude_none,
    )
    return any(options)


def _has_supported_query(dependant: Dependant) -> bool:
    """Return whether an endpoint takes no query parameters or only one query model.

    A query model is declared as `query: Annotated[BookQuery, Query()]`.
    """
    if not dependant.query_params:
        return True
    return len(dependant.query_params) == 1 and find_query_model(dependant) is not None


def _has_supported_body(route: APIRoute) -> bool:
    """Return whether an endpoint takes no body or one JSON body, such as `data: BookCreate`."""
    if not route.dependant.body_params:
        return True
    parameter = route.dependant.body_params[0]
    # FastAPI wraps several body parameters, or an embedded one, in another `body_field`.
    is_whole_body = parameter is route.body_field
    is_form = isinstance(parameter.field_info, params.Form)
    return is_whole_body and not is_form
