"""The OpenAPI document: FastAPI generates it, and this module adds what our routes declare."""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.core.field_errors import FieldError
from app.core.http import _conditional as conditional
from app.core.http._guard import find_guarded_routes
from app.core.http._openapi_links import add_links
from app.core.http._openapi_operations import add_standard_headers, document_route
from app.core.http._openapi_problems import (
    Json,
    add_general_error_responses,
    build_security_scheme,
    document_access,
)
from app.core.http._problems import Problem
from app.core.http._route import Route
from app.core.schemas import MAX_INT64, SETTING_LIMITS_KEY
from app.core.token_scopes import get_token_scope
from app.settings import Settings

# The length of the longest string of each format, in characters.
_MAX_LENGTHS: Final = {"uuid": 36, "date": 10, "date-time": 32}
_HEADER_SCHEMA: Final = {"type": "string", "maxLength": conditional.MAX_HEADER_LENGTH}
_HEADER_DESCRIPTIONS: Final = {
    "X-Request-ID": (
        "The id of the request in the service's log. It is the `X-Request-ID` of the request if the"
        " client sent a valid one: 1 to 128 visible ASCII characters."
    ),
    "Cache-Control": "States whether a cache may store the response",
    "ETag": (
        "The `version` of the resource in quotes. It can be sent in `If-Match` and `If-None-Match`."
    ),
    "Link": "Links to the `first`, `prev`, `next` and `last` page, if they are known (RFC 8288)",
    "Data-As-Of": (
        "Every change that was committed before this time (RFC 3339) is in the response. It is"
        " absent if the time is unknown, for example for data from a warehouse."
    ),
    "Location": "The URL of the created resource, or the URL to which the response redirects",
    "Content-Disposition": 'The name under which to save the file: `attachment; filename="..."`',
    "Retry-After": "The number of seconds to wait before the request is sent again",
    "Idempotency-Replayed": (
        "`true` if this is the stored response to an earlier request with the same"
        " `Idempotency-Key`. Otherwise, the header is absent."
    ),
    "WWW-Authenticate": (
        "The authentication scheme, and why the token was not accepted if there was one (RFC 6750)"
    ),
    "Accept": "The media types that the operation accepts, if it did not support that of the body",
    "Accept-Encoding": "`identity`, if the body had a Content-Encoding, which is not supported",
    "Accept-Patch": "The media types that PATCH accepts for the path (RFC 5789)",
}


def get_openapi_document(app: FastAPI, settings: Settings) -> Json:
    """Return the OpenAPI document of an application, which the first call generates.

    Args:
        app: The application. It keeps the document in `openapi_schema` for later calls.
        settings: The settings of the application, which are the same in every call. They determine
            the path prefix, limits of fields, and which operations callers without a token may use.
    """
    if app.openapi_schema is None:
        app.openapi_schema = _generate_document(app, settings)
    return app.openapi_schema


def _generate_document(app: FastAPI, settings: Settings) -> Json:
    """Generate an OpenAPI document with FastAPI, and add errors, permissions and links to it.

    The arguments are those of `get_openapi_document`.
    """
    anonymous_kind = settings.anonymous_access_level
    root_path = settings.root_path
    own_routes = [route for route in app.routes if isinstance(route, Route)]
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        tags=app.openapi_tags,
        routes=own_routes,
        servers=[{"url": root_path}] if root_path else None,
    )
    _add_components(document, root_path)
    _document_own_routes(document, own_routes, anonymous_kind)
    _add_library_routes(document, app, anonymous_kind)
    for json_object in _find_json_objects(document):
        _apply_setting_limits(json_object, settings)
        _add_max_length(json_object)
        _write_bounds_as_integers(json_object)
    return document


def _add_components(document: Json, root_path: str) -> None:
    """Add the security scheme, headers and error schemas to which all operations refer."""
    components = document["components"]
    components["securitySchemes"] = {"password": build_security_scheme(root_path)}
    components["headers"] = {
        name: {"description": description, "schema": _HEADER_SCHEMA}
        for name, description in _HEADER_DESCRIPTIONS.items()
    }
    for model in (Problem, FieldError):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        # Remove the copy of the schema of `FieldError` from the schema of `Problem`.
        schema.pop("$defs", None)
        components["schemas"][model.__name__] = schema
    _remove_fastapi_error_schemas(components["schemas"])


def _remove_fastapi_error_schemas(schemas: Json) -> None:
    """Remove the schemas of FastAPI's own error responses, which this service does not send."""
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)


def _document_own_routes(document: Json, own_routes: list[Route], anonymous_kind: str) -> None:
    """Add to each operation the errors, permission, headers and links of its route.

    Args:
        document: The OpenAPI document that FastAPI generated for the routes. It is changed.
        own_routes: The routes that our own routers declare.
        anonymous_kind: The kind of callers without a token, for example "read".
    """
    schemas = document["components"]["schemas"]
    # A route is identified by path and method, because two endpoints may have the same name.
    routes_by_path_and_method = {
        (route.path_format, method.lower()): route
        for route in own_routes
        for method in route.methods or ()
    }
    for path, path_item in document["paths"].items():
        for method, operation in path_item.items():
            route = routes_by_path_and_method[path, method]
            document_route(operation, method, path, route, schemas, anonymous_kind)
    # The links depend on the headers of the responses, which were added above.
    for path, path_item in document["paths"].items():
        for operation in path_item.values():
            add_links(operation, path, document)


def _add_library_routes(document: Json, app: FastAPI, anonymous_kind: str) -> None:
    """Add the routes of libraries, such as a GraphQL router, to the OpenAPI document.

    For each of these routes, FastAPI generates a separate document. This function adds to its
    operations the errors and headers that all operations have, and the roles that may call them.
    Then it merges the document into ours.
    """
    for guarded_route in find_guarded_routes(app):
        library_document = get_openapi(
            title=app.title, version=app.version, routes=[guarded_route.route]
        )
        library_schemas = library_document.get("components", {}).get("schemas", {})
        _remove_fastapi_error_schemas(library_schemas)
        _rename_conflicting_schemas(library_document, document["components"]["schemas"])
        for path_item in library_document.get("paths", {}).values():
            for method, operation in path_item.items():
                add_general_error_responses(operation)
                token_scopes = [get_token_scope(method.upper())]
                document_access(operation, guarded_route.permission, token_scopes, anonymous_kind)
                add_standard_headers(operation)
        _merge_document(document, library_document)


def _rename_conflicting_schemas(library_document: Json, own_schemas: Json) -> None:
    """Rename each schema of a library that differs from our schema of the same name.

    For example, `Book` becomes `Book2`, also in every `$ref` of the library's document.
    """
    library_schemas = library_document.get("components", {}).get("schemas", {})
    for name in list(library_schemas):
        has_conflict = name in own_schemas and own_schemas[name] != library_schemas[name]
        if not has_conflict:
            continue
        new_name = _add_unused_number(name, used_names={*own_schemas, *library_schemas})
        library_schemas[new_name] = library_schemas.pop(name)
        for json_object in _find_json_objects(library_document):
            if json_object.get("$ref") == f"#/components/schemas/{name}":
                json_object["$ref"] = f"#/components/schemas/{new_name}"


def _add_unused_number(name: str, used_names: set[str]) -> str:
    """Return `Book2` for the name `Book`, or `Book3` if `Book2` is used as well, and so on."""
    number = 2
    while f"{name}{number}" in used_names:
        number += 1
    return f"{name}{number}"


def _merge_document(document: Json, library_document: Json) -> None:
    """Copy the operations and components of a library's OpenAPI document to our document.

    If both documents contain the same operation, ours stays, because requests reach our route.
    """
    for path, library_path_item in library_document.get("paths", {}).items():
        own_path_item = document["paths"].get(path, {})
        document["paths"][path] = {**library_path_item, **own_path_item}
    for kind, library_components in library_document.get("components", {}).items():
        own_components = document["components"].setdefault(kind, {})
        for name, component in library_components.items():
            own_components.setdefault(name, component)


def _apply_setting_limits(schema: Json, settings: Settings) -> None:
    """Set the limits of a schema that depend on settings.

    `{"x-setting-limits": {"maximum": "token_ttl"}}` becomes `{"maximum": 2592000}`.
    """
    for keyword, setting_name in schema.pop(SETTING_LIMITS_KEY, {}).items():
        schema[keyword] = getattr(settings, setting_name)


def _add_max_length(schema: Json) -> None:
    """Add `"maxLength": 36` to the schema of a UUID, and the like for dates and times."""
    string_format = schema.get("format")
    # In the `properties` of a model that has a field `format`, the value is not text.
    if isinstance(string_format, str) and string_format in _MAX_LENGTHS:
        schema.setdefault("maxLength", _MAX_LENGTHS[string_format])


def _write_bounds_as_integers(schema: Json) -> None:
    """Convert the bounds of a number to integers: `"maximum": 100.0` becomes `"maximum": 100`.

    FastAPI writes the bounds of all numbers, also of integers, as floats.
    """
    for keyword in ("minimum", "maximum"):
        bound = schema.get(keyword)
        # In the `properties` of a model that has a field `minimum`, the value is not a number.
        if isinstance(bound, int | float) and float(bound).is_integer():
            # The float that is nearest to MAX_INT64 is larger by 1. `min` restores the integer.
            schema[keyword] = min(int(bound), MAX_INT64)


def _find_json_objects(json_value: Any) -> Iterator[Json]:
    """Yield every JSON object in a JSON value: the value itself, and objects at any depth."""
    if isinstance(json_value, dict):
        yield json_value
        children = list(json_value.values())
    elif isinstance(json_value, list):
        children = json_value
    else:
        return
    for child in children:
        yield from _find_json_objects(child)
