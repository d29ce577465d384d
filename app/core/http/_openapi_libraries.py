"""Adds the routes of libraries, such as a GraphQL router, to the OpenAPI document."""

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.core.http._guard import find_guarded_routes
from app.core.http._openapi_access import document_access
from app.core.http._openapi_headers import add_standard_headers
from app.core.http._openapi_json import Json, add_unused_number, rename_schemas
from app.core.http._openapi_problems import add_general_error_responses
from app.core.token_scopes import get_token_scope


def add_library_routes(document: Json, app: FastAPI, anonymous_kind: str) -> None:
    """Add the routes of libraries to the OpenAPI document.

    For each of these routes, FastAPI generates a separate document. This function adds to its
    operations the errors and headers that all operations have, and the roles that may call them.
    Then it merges the document into ours.

    Args:
        document: The OpenAPI document of our own routes. It is changed.
        app: The application.
        anonymous_kind: The kind of callers without a token, for example "read".
    """
    for guarded_route in find_guarded_routes(app):
        library_document = get_openapi(
            title=app.title, version=app.version, routes=[guarded_route.route]
        )
        library_schemas = library_document.get("components", {}).get("schemas", {})
        remove_fastapi_error_schemas(library_schemas)
        _rename_conflicting_schemas(library_document, document["components"]["schemas"])
        for path_item in library_document.get("paths", {}).values():
            for method, operation in path_item.items():
                add_general_error_responses(operation)
                token_scopes = [get_token_scope(method.upper())]
                document_access(operation, guarded_route.permission, token_scopes, anonymous_kind)
                add_standard_headers(operation)
        _merge_document(document, library_document)


def remove_fastapi_error_schemas(schemas: Json) -> None:
    """Remove the schemas of FastAPI's own error responses, which this service does not send."""
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)


def _rename_conflicting_schemas(library_document: Json, own_schemas: Json) -> None:
    """Rename each schema of a library that differs from our schema of the same name.

    For example, `Book` becomes `Book2`, also in every `$ref` of the library's document.
    """
    library_schemas = library_document.get("components", {}).get("schemas", {})
    new_names: dict[str, str] = {}
    for name, library_schema in library_schemas.items():
        if name in own_schemas and own_schemas[name] != library_schema:
            used_names = {*own_schemas, *library_schemas, *new_names.values()}
            new_names[name] = add_unused_number(name, used_names)
    if new_names:
        rename_schemas(library_document, new_names)


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
