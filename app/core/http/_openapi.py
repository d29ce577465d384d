"""The OpenAPI document: FastAPI generates it, and this module adds what our routes declare."""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.core.field_errors import FieldError
from app.core.http import _conditional as conditional
from app.core.http._guard import guarded_routes
from app.core.http._openapi_links import add_links
from app.core.http._openapi_operations import add_standard_headers, complete_operation
from app.core.http._openapi_problems import Json, add_access, add_general_problems
from app.core.http._problems import Problem
from app.core.http._route import Route
from app.core.schemas import MAX_INT64

# The length of the longest string of each format, in characters.
_MAX_LENGTHS: Final = {"uuid": 36, "date": 10, "date-time": 32}
_HEADER_SCHEMA: Final = {"type": "string", "maxLength": conditional.MAX_HEADER_LENGTH}
_HEADER_DESCRIPTIONS: Final = {
    "X-Request-ID": (
        "The id of the request in the service's log. It is the `X-Request-ID` of the request if the"
        " client sent one"
    ),
    "Cache-Control": "States whether a cache may store the response",
    "ETag": (
        "The `version` of the resource in quotes. It can be sent in `If-Match` and `If-None-Match`"
    ),
    "Link": "Links to the `first`, `prev`, `next` and `last` page, if they are known (RFC 8288)",
    "Location": "The URL of the created resource, or the URL to which the response redirects",
    "Vary": "The request header that determines the media type of the response",
    "Retry-After": "The number of seconds to wait before the request is sent again",
    "Idempotency-Replayed": (
        "`true` if this is the stored response to an earlier request with the same"
        " `Idempotency-Key`. Otherwise, the header is absent"
    ),
    "WWW-Authenticate": (
        "The authentication scheme, and why the token was not accepted if there was one (RFC 6750)"
    ),
}
# The URL is relative to the document, so that it is also correct behind a proxy that adds a prefix.
_SECURITY_SCHEME: Final = {
    "type": "oauth2",
    "flows": {"password": {"tokenUrl": "tokens", "scopes": {}}},
}


def get_openapi_document(app: FastAPI, anonymous_access: str) -> Json:
    """Return the OpenAPI document of an application.

    The first call generates the document. Later calls return the same object.

    Args:
        app: The application.
        anonymous_access: The setting ANONYMOUS_ACCESS, which determines the operations that need a
            token.
    """
    if app.openapi_schema is None:
        app.openapi_schema = _generate_document(app, anonymous_access)
    return app.openapi_schema


def _generate_document(app: FastAPI, anonymous_access: str) -> Json:
    """Generate an OpenAPI document with FastAPI, and add errors, permissions, links and so on."""
    own_routes = [route for route in app.routes if isinstance(route, Route)]
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        tags=app.openapi_tags,
        routes=own_routes,
    )
    _add_components(document)
    _complete_operations(document, own_routes, anonymous_access)
    _add_foreign_routes(document, app, anonymous_access)
    for json_object in _find_json_objects(document):
        _add_max_length(json_object)
        _write_bounds_as_integers(json_object)
    return document


def _add_components(document: Json) -> None:
    """Add the parts to which all operations refer: security scheme, headers, schemas of errors."""
    components = document["components"]
    components["securitySchemes"] = {"password": _SECURITY_SCHEME}
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


def _complete_operations(document: Json, own_routes: list[Route], anonymous_access: str) -> None:
    """Add to each operation what its route declares, for example its errors and permission."""
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
            complete_operation(operation, method, path, route, schemas, anonymous_access)
    # A link refers to another operation, so all operations have to be complete.
    for path, path_item in document["paths"].items():
        for operation in path_item.values():
            add_links(operation, path, document)


def _add_foreign_routes(document: Json, app: FastAPI, anonymous_access: str) -> None:
    """Add the operations of routes that come from libraries, such as a GraphQL router.

    FastAPI generates a separate document for each of these routes. Its operations are completed
    with our general errors and the roles that may call them, and copied to our document.
    """
    for guarded_route in guarded_routes(app):
        foreign_document = get_openapi(
            title=app.title, version=app.version, routes=[guarded_route.route]
        )
        foreign_schemas = foreign_document.get("components", {}).get("schemas", {})
        _remove_fastapi_error_schemas(foreign_schemas)
        _rename_conflicting_schemas(foreign_document, document["components"]["schemas"])
        for path_item in foreign_document.get("paths", {}).values():
            for operation in path_item.values():
                add_general_problems(operation)
                add_access(operation, guarded_route.permission, anonymous_access)
                add_standard_headers(operation)
        _merge_document(document, foreign_document)


def _rename_conflicting_schemas(foreign_document: Json, own_schemas: Json) -> None:
    """Rename each schema of a library that differs from our schema of the same name.

    For example, `Book` becomes `Book2`, also in every `$ref` of the library's document.
    """
    foreign_schemas = foreign_document.get("components", {}).get("schemas", {})
    for name in list(foreign_schemas):
        has_conflict = name in own_schemas and own_schemas[name] != foreign_schemas[name]
        if not has_conflict:
            continue
        number = 2
        while f"{name}{number}" in own_schemas or f"{name}{number}" in foreign_schemas:
            number += 1
        new_name = f"{name}{number}"
        foreign_schemas[new_name] = foreign_schemas.pop(name)
        for json_object in _find_json_objects(foreign_document):
            if json_object.get("$ref") == f"#/components/schemas/{name}":
                json_object["$ref"] = f"#/components/schemas/{new_name}"


def _merge_document(document: Json, foreign_document: Json) -> None:
    """Copy the operations and components of a library's OpenAPI document to our document.

    If both documents have the same operation, ours stays, because our routes are matched first.
    """
    for path, foreign_path_item in foreign_document.get("paths", {}).items():
        own_path_item = document["paths"].get(path, {})
        document["paths"][path] = {**foreign_path_item, **own_path_item}
    for kind, foreign_components in foreign_document.get("components", {}).items():
        own_components = document["components"].setdefault(kind, {})
        for name, component in foreign_components.items():
            own_components.setdefault(name, component)


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
            # A float cannot represent MAX_INT64 and is rounded up, so `min` restores the integer.
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
