"""The OpenAPI document: FastAPI generates it, and this module adds what our routes declare.

`_generate_document` calls all steps in their order. Each step is a module:

    _openapi_operations     completes the operations of our routes, with these modules:
        _openapi_bodies         request bodies
        _openapi_problems       error responses
        _openapi_access         the token and roles that an operation requires
        _openapi_headers        request and response headers
        _openapi_examples       examples, built from the examples of the models' fields
    _openapi_links          links from operations that create a resource to those that take its id
    _openapi_libraries      adds the routes of libraries
    _openapi_order          sorts the operations
    _openapi_components     moves what operations have in common to the components
    _openapi_schemas        completes the schemas
"""

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app import CONTACT, LICENSE
from app.core.field_errors import FieldError
from app.core.http._openapi_access import build_security_scheme
from app.core.http._openapi_components import share_components
from app.core.http._openapi_headers import build_header_components, remove_unused_headers
from app.core.http._openapi_json import Json
from app.core.http._openapi_libraries import add_library_routes, remove_fastapi_error_schemas
from app.core.http._openapi_links import add_links
from app.core.http._openapi_operations import document_route
from app.core.http._openapi_order import sort_operations
from app.core.http._openapi_problems import list_problem_types
from app.core.http._openapi_schemas import complete_schemas, document_absent_members
from app.core.http._problems import Problem
from app.core.http._route import Route
from app.settings import Settings


def get_openapi_document(app: FastAPI, settings: Settings, login_description: str) -> Json:
    """Return the OpenAPI document of an application, which the first call generates.

    Args:
        app: The application. It keeps the document in `openapi_schema` for later calls.
        settings: The settings of the application, which are the same in every call. They determine
            the path prefix, limits of fields, and which operations callers without a token may use.
        login_description: Explains in Markdown how to log in. The documentation page shows it.
    """
    if app.openapi_schema is None:
        app.openapi_schema = _generate_document(app, settings, login_description)
    return app.openapi_schema


def _generate_document(app: FastAPI, settings: Settings, login_description: str) -> Json:
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
        contact=CONTACT,
        license_info=LICENSE,
        tags=app.openapi_tags,
        routes=own_routes,
        # A relative URL, which is also correct if several hosts serve the document.
        servers=[{"url": root_path or "/"}],
    )
    _add_components(document, build_security_scheme(root_path, login_description))
    _document_own_routes(document, own_routes, anonymous_kind)
    _add_links(document)
    add_library_routes(document, app, anonymous_kind)
    list_problem_types(document)
    sort_operations(document)
    # The following steps are faster after this one, because the document is a third as large.
    share_components(document)
    remove_unused_headers(document)
    complete_schemas(document, settings)
    return document


def _add_components(document: Json, security_scheme: Json) -> None:
    """Add the security scheme, headers and error schemas to which all operations refer."""
    components = document["components"]
    components["securitySchemes"] = {"password": security_scheme}
    components["headers"] = build_header_components()
    for model in (Problem, FieldError):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        # Remove the copy of the schema of `FieldError` from the schema of `Problem`.
        schema.pop("$defs", None)
        document_absent_members(schema)
        components["schemas"][model.__name__] = schema
    remove_fastapi_error_schemas(components["schemas"])


def _document_own_routes(document: Json, own_routes: list[Route], anonymous_kind: str) -> None:
    """Add to each operation the errors, permission, headers and examples of its route.

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


def _add_links(document: Json) -> None:
    """Add links to the operations. They depend on the headers of the responses."""
    for path, path_item in document["paths"].items():
        for operation in path_item.values():
            add_links(operation, path, document)
