"""The OpenAPI document: what FastAPI generates, completed by what our routes declare."""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.core.errors import Fault
from app.core.http import _conditional as conditional
from app.core.http._guard import guarded_routes
from app.core.http._openapi_operations import (
    Json,
    add_access,
    add_general_problems,
    add_links,
    add_standard_headers,
    complete_operation,
)
from app.core.http._problems import Problem
from app.core.http._route import Route
from app.core.schemas import MAX_INT64

# The longest string of each format, in characters.
_MAX_LENGTHS: Final = {"uuid": 36, "date": 10, "date-time": 32}
_HEADER_SCHEMA: Final = {"type": "string", "maxLength": conditional.MAX_HEADER_LENGTH}
_HEADERS: Final = {
    "X-Request-ID": "Names the request in the service's log; that of the request, if it had one",
    "Cache-Control": "Who may keep the answer",
    "ETag": "The `version` of the resource in quotes, for `If-Match` and `If-None-Match`",
    "Link": "The pages `first`, `prev`, `next` and `last`, where they are known (RFC 8288)",
    "Location": "Where it is",
    "Vary": "Which header of the request chose the form",
    "Retry-After": "Seconds until the request may be sent again",
    "Idempotency-Replayed": "`true`, and only there where the first answer to the key is repeated",
    "WWW-Authenticate": "What is wrong with the token, or that there is none (RFC 6750)",
}
# The URL is relative to the document, so that it is right behind a proxy that adds a prefix.
_SECURITY_SCHEME: Final = {
    "type": "oauth2",
    "flows": {"password": {"tokenUrl": "tokens", "scopes": {}}},
}


def openapi_document(app: FastAPI, anonymous_access: str) -> Json:
    """Return the document of an application. It is generated once and then kept.

    `anonymous_access` is the setting of this name: the document states which operations need a
    token.
    """
    if app.openapi_schema is None:
        app.openapi_schema = _generate(app, anonymous_access)
    return app.openapi_schema


def _generate(app: FastAPI, anonymous_access: str) -> Json:
    own_routes = [route for route in app.routes if isinstance(route, Route)]
    # The keys are path and method, because two endpoints may have the same name.
    routes = {
        (route.path_format, method.lower()): route
        for route in own_routes
        for method in route.methods or ()
    }
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        tags=app.openapi_tags,
        routes=own_routes,
    )
    _add_components(document)
    schemas = document["components"]["schemas"]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            route = routes[path, method]
            complete_operation(operation, method, path, route, schemas, anonymous_access)
    for path, item in document["paths"].items():
        for operation in item.values():
            add_links(operation, path, document)
    _add_foreign_routes(document, app, anonymous_access)
    for node in _nodes(document):
        _complete_bounds(node)
    return document


def _rename_schemas(part: Json, known_schemas: Json) -> None:
    """Rename the schemas of a part whose names other schemas have already: `Book` to `Book2`."""
    schemas = part.get("components", {}).get("schemas", {})
    for name in list(schemas):
        if name not in known_schemas or known_schemas[name] == schemas[name]:
            continue
        number = 2
        while f"{name}{number}" in known_schemas or f"{name}{number}" in schemas:
            number += 1
        schemas[f"{name}{number}"] = schemas.pop(name)
        for node in _nodes(part):
            if node.get("$ref") == f"#/components/schemas/{name}":
                node["$ref"] = f"#/components/schemas/{name}{number}"


def _complete_bounds(node: Json) -> None:
    """Add the bounds that FastAPI leaves out of a schema, and correct those of integers.

    A node may also be the properties of a model that has a field named `format` or `minimum`.
    """
    string_format = node.get("format")
    if isinstance(string_format, str) and string_format in _MAX_LENGTHS:
        node.setdefault("maxLength", _MAX_LENGTHS[string_format])
    for bound in ("minimum", "maximum"):
        value = node.get(bound)
        # FastAPI converts the bounds of integers to floats.
        if isinstance(value, int | float) and float(value).is_integer():
            node[bound] = min(int(value), MAX_INT64)


def _add_components(document: Json) -> None:
    components = document["components"]
    components["securitySchemes"] = {"password": _SECURITY_SCHEME}
    components["headers"] = {
        name: {"description": description, "schema": _HEADER_SCHEMA}
        for name, description in _HEADERS.items()
    }
    for model in (Problem, Fault):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        components["schemas"][model.__name__] = schema
    _remove_validation_errors(components["schemas"])


def _remove_validation_errors(schemas: Json) -> None:
    """Remove the schemas of FastAPI's own error responses, which this service does not send."""
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)


def _add_foreign_routes(document: Json, app: FastAPI, anonymous_access: str) -> None:
    """Add the operations of foreign routers, with their access and the general problems."""
    for guarded in guarded_routes(app):
        part = get_openapi(title=app.title, version=app.version, routes=[guarded.route])
        components = part.get("components", {})
        _remove_validation_errors(components.get("schemas", {}))
        _rename_schemas(part, document["components"]["schemas"])
        for path, item in part.get("paths", {}).items():
            for operation in item.values():
                add_general_problems(operation)
                add_access(operation, guarded.permission, anonymous_access)
                add_standard_headers(operation)
            # Where a path has both, the requests go to our own operation.
            document["paths"][path] = {**item, **document["paths"].get(path, {})}
        for name, schema in components.pop("schemas", {}).items():
            document["components"]["schemas"].setdefault(name, schema)
        for kind, named in components.items():
            document["components"][kind] = {**named, **document["components"].get(kind, {})}


def _nodes(node: Any) -> Iterator[Json]:
    """Return every object in a document."""
    if isinstance(node, dict):
        yield node
        children = list(node.values())
    elif isinstance(node, list):
        children = node
    else:
        return
    for child in children:
        yield from _nodes(child)
