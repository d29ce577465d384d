"""Decides which endpoints the fast path (`_fast_dispatch.py`) can call instead of FastAPI."""

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
    """Return whether all features of the installed FastAPI were known when this module was written.

    FastAPI describes an endpoint by a `Dependant`. A newer version may add a field to it for a new
    feature. The fast path, which calls endpoints directly, would ignore this feature.
    """
    known_fields = _SUPPORTED_FIELDS | _UNSUPPORTED_FIELDS
    installed_fields = {field.name for field in fields(Dependant)}
    return installed_fields == known_fields


def is_supported_route(route: APIRoute) -> bool:
    """Return whether the endpoint of a route can be called directly instead of through FastAPI.

    This is possible for a coroutine function that takes only path parameters, one query model, one
    JSON body and supported dependencies. Other endpoints, for example with form fields, header
    parameters or background tasks, need FastAPI.
    """
    endpoint = route.dependant
    if not _is_coroutine_callable(endpoint.call) or _needs_fastapi_feature(endpoint):
        return False
    has_supported_parameters = _has_supported_query(endpoint) and _has_supported_body(route)
    has_supported_response = not _has_custom_response_class(route) and _can_serialize_result(route)
    has_supported_dependencies = all(
        _is_supported_dependency(dependency) for dependency in endpoint.dependencies
    )
    return has_supported_parameters and has_supported_response and has_supported_dependencies


def _is_supported_dependency(dependency: Dependant) -> bool:
    """Return whether a dependency of an endpoint can be called directly, without FastAPI.

    A dependency is a function or class `f` in `Depends(f)`. It has to be a coroutine function or a
    class. Its arguments may only be the request, the response and other supported dependencies.
    """
    takes_request_parameters = bool(
        dependency.path_params or dependency.query_params or dependency.body_params
    )
    if takes_request_parameters or _needs_fastapi_feature(dependency):
        return False
    # FastAPI calls a plain function or a class in a thread, because it may block. The constructors
    # of our services do not block.
    is_callable_directly = _is_coroutine_callable(dependency.call) or isclass(dependency.call)
    return is_callable_directly and all(
        _is_supported_dependency(child) for child in dependency.dependencies
    )


def _needs_fastapi_feature(dependant: Dependant) -> bool:
    """Return whether an endpoint or dependency uses a feature that only FastAPI provides.

    For example, `dependant.header_params` is not empty if the function takes a header parameter.
    """
    return any(getattr(dependant, field_name) for field_name in _UNSUPPORTED_FIELDS)


def _has_custom_response_class(route: APIRoute) -> bool:
    """Return whether a route declares a class of responses, for example `HTMLResponse`.

    Otherwise, FastAPI marks its default class, `JSONResponse`, with a placeholder.
    """
    return not isinstance(route.response_class, DefaultPlaceholder)


def _can_serialize_result(route: APIRoute) -> bool:
    """Return whether the result of an endpoint can be converted to JSON without FastAPI.

    This is possible if the route sends all fields of a response model under their aliases, which is
    the default, or if its responses never have a body. Only FastAPI can convert other results.
    """
    has_response_model = route.response_field is not None
    if not has_response_model:
        return not is_body_allowed_for_status_code(route.status_code)
    selects_fields = bool(
        route.response_model_include
        or route.response_model_exclude
        or route.response_model_exclude_unset
        or route.response_model_exclude_defaults
        or route.response_model_exclude_none
    )
    return route.response_model_by_alias and not selects_fields


def _has_supported_query(endpoint: Dependant) -> bool:
    """Return whether an endpoint takes its query parameters as one model, or takes none.

    For example, `query: Annotated[BookQuery, Query()]`. Only FastAPI can read parameters that are
    declared one by one, for example `page: int = 1`.
    """
    if not endpoint.query_params:
        return True
    return len(endpoint.query_params) == 1 and find_query_model(endpoint) is not None


def _has_supported_body(route: APIRoute) -> bool:
    """Return whether an endpoint takes its request body as one JSON value, or takes none.

    For example, `book: BookCreate`. Only FastAPI can read forms, a JSON object whose fields are
    separate parameters of the endpoint, and a body with a maximum size.
    """
    if route.max_body_size:
        return False
    body_parameters = route.dependant.body_params
    if not body_parameters:
        return True
    # `body_field` describes the request body. It is the parameter itself, unless the parameters are
    # fields of a JSON object.
    is_one_json_value = body_parameters[0] is route.body_field
    is_form = isinstance(body_parameters[0].field_info, params.Form)
    return is_one_json_value and not is_form
