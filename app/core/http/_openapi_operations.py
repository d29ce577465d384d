"""Documents one operation of the OpenAPI document: parameters, headers and examples."""

from contextlib import suppress
from typing import Final

from app.core import errors
from app.core.http import _conditional as conditional
from app.core.http._examples import MissingExample, build_example
from app.core.http._idempotency_key import (
    IDEMPOTENCY_KEY_DESCRIPTION,
    IDEMPOTENCY_KEY_HEADER,
    IDEMPOTENCY_KEY_SCHEMA,
)
from app.core.http._openapi_bodies import copy_form_example, document_body
from app.core.http._openapi_headers import refer_to_headers
from app.core.http._openapi_problems import (
    Json,
    add_error_responses,
    add_general_error_responses,
    add_implied_error_responses,
    document_access,
)
from app.core.http._openapi_schemas import remove_null
from app.core.http._query import find_query_model, openapi_query_parameters
from app.core.http._route import Route
from app.core.paging import Page
from app.core.schemas import ReadModel

# FastAPI describes each of these responses as "Successful Response".
_SUCCESS_DESCRIPTIONS: Final = {
    "200": "Success",
    "201": "Created",
    "204": "Success without content",
    "307": "Temporary redirect",
}
_IF_NONE_MATCH_DESCRIPTION: Final = (
    "The ETags of the representations that the client has, or that the resource must not have. If"
    " the current ETag is one of them, also as a weak ETag (`W/`), the response to a GET is 304 and"
    " has no content, and a PATCH or DELETE does not change the resource and the response is 412."
    " `*` matches every ETag."
)
_IF_MATCH_DESCRIPTION: Final = (
    "The ETags that the resource may have. If its current ETag is not one of them, the resource is"
    " not changed and the response is 412. `*` matches every ETag. Weak ETags (`W/`) never match."
    " If a proxy makes ETags weak, send the `version` of the resource in double quotes."
)


def document_route(
    operation: Json, method: str, path: str, route: Route, schemas: Json, anonymous_kind: str
) -> None:
    """Add to an OpenAPI operation the errors, permission, headers and examples of its route.

    FastAPI has generated the operation, but does not know these properties of our routes.

    Args:
        operation: The operation in the OpenAPI document. It is changed in place.
        method: The method of the operation, for example "get".
        path: The path of the operation, for example "/books/{id}".
        route: The route of the operation.
        schemas: The named schemas of the document, to which `$ref` refers.
        anonymous_kind: The kind of callers without a token, for example "read". It is the value of
            the setting ANONYMOUS_ACCESS.
    """
    _split_summary_from_description(operation)
    _describe_success(operation)
    _document_query_model(operation, route)
    _remove_null_from_parameters(operation)
    document_body(operation, method, schemas)
    add_general_error_responses(operation)
    add_implied_error_responses(operation, method, path, route)
    token_scopes = [] if route.token_scope is None else [route.token_scope]
    document_access(operation, route.permission, token_scopes, anonymous_kind)
    if route.accepts_idempotency_key:
        _add_idempotency_key(operation)
    _add_conditional_headers(operation, method, route)
    _add_response_headers(operation, route)
    _add_examples(operation, schemas)
    copy_form_example(operation, schemas)


def _split_summary_from_description(operation: Json) -> None:
    """Split the description of an operation into a summary and the rest of the description.

    FastAPI uses the docstring of an endpoint as the description, for example:

        Get a book.

        The author is embedded.

    The summary becomes "Get a book", and the description "The author is embedded."
    """
    docstring = operation.pop("description", "")
    first_paragraph, _, other_paragraphs = docstring.partition("\n\n")
    operation["summary"] = " ".join(first_paragraph.split()).removesuffix(".")
    if other_paragraphs:
        operation["description"] = other_paragraphs.strip()


def _describe_success(operation: Json) -> None:
    """Replace FastAPI's description "Successful Response", for example by "Created" for 201."""
    for status, response in operation["responses"].items():
        if response.get("description") == "Successful Response":
            response["description"] = _SUCCESS_DESCRIPTIONS.get(status, "Success")


def _document_query_model(operation: Json, route: Route) -> None:
    """Document each field of the endpoint's query model as a query parameter.

    FastAPI's own documentation of these fields is replaced, because it ignores their
    `json_schema_extra`.
    """
    query_model = find_query_model(route.dependant)
    if query_model is None:
        return
    parameters = operation.pop("parameters", [])
    other_parameters = [parameter for parameter in parameters if parameter["in"] != "query"]
    operation["parameters"] = [*other_parameters, *openapi_query_parameters(query_model)]


def _remove_null_from_parameters(operation: Json) -> None:
    """Document optional parameters as ones that clients may omit, but cannot send as null."""
    for parameter in operation.setdefault("parameters", []):
        schema = parameter["schema"]
        remove_null(schema)
        # The alternative may have a description, which belongs to the parameter.
        if "description" in schema:
            parameter["description"] = schema.pop("description")


def _add_idempotency_key(operation: Json) -> None:
    """Document the header Idempotency-Key and the problems that it may cause."""
    _add_header_parameter(
        operation, IDEMPOTENCY_KEY_HEADER, IDEMPOTENCY_KEY_DESCRIPTION, IDEMPOTENCY_KEY_SCHEMA
    )
    add_error_responses(operation, errors.RequestInProgress, errors.IdempotencyKeyReused)


def _add_conditional_headers(operation: Json, method: str, route: Route) -> None:
    """Document the request headers If-None-Match and If-Match where they have an effect.

    If-None-Match applies to a GET of a single resource, and both headers to PATCH and DELETE.
    """
    is_conditional_get = method == "get" and _responds_with(route, ReadModel)
    is_conditional_write = method in {"patch", "delete"}
    tags_schema = conditional.ENTITY_TAGS_SCHEMA
    if is_conditional_write:
        _add_header_parameter(operation, "If-Match", _IF_MATCH_DESCRIPTION, tags_schema)
    if is_conditional_get or is_conditional_write:
        _add_header_parameter(operation, "If-None-Match", _IF_NONE_MATCH_DESCRIPTION, tags_schema)
    if is_conditional_get:
        operation["responses"]["304"] = {"description": "Not modified"}


def _add_header_parameter(operation: Json, name: str, description: str, schema: Json) -> None:
    """Document an optional request header, for example If-Match."""
    parameter = {
        "name": name,
        "in": "header",
        "description": description,
        "required": False,
        # A copy, because other modules change the document in place.
        "schema": dict(schema),
    }
    operation.setdefault("parameters", []).append(parameter)


def _add_response_headers(operation: Json, route: Route) -> None:
    """Document the headers that each response of an operation may have.

    The status of a response is text, for example "404". Because every status has three digits, the
    order of these texts is the order of the numbers.
    """
    for status, response in operation["responses"].items():
        is_success = status < "300"
        is_problem = status >= "400"
        is_cacheable = status != "204"
        # The status 409 may mean that a request with the same Idempotency-Key is in progress.
        may_be_in_progress = status == "409" and route.accepts_idempotency_key
        may_have_header = {
            "X-Request-ID": True,
            "Cache-Control": is_problem or is_cacheable,
            "ETag": (is_success and _responds_with(route, ReadModel)) or status == "304",
            "Link": is_success and _responds_with(route, Page),
            "Location": route.has_location and not is_problem,
            "Retry-After": status in {"429", "503"} or may_be_in_progress,
            # Temporary errors (429) are never stored, like those of the server (5xx), and those of
            # a head that is too large (414, 431).
            "Idempotency-Replayed": (
                route.accepts_idempotency_key
                and status < "500"
                and status not in {"414", "429", "431"}
            ),
            "WWW-Authenticate": status in {"401", "403"},
            "Accept": status == "415",
            "Accept-Encoding": status == "415",
            "Accept-Patch": status == "415" and "PATCH" in (route.methods or ()),
        }
        header_names = [name for name, may_have in may_have_header.items() if may_have]
        response.setdefault("headers", {}).update(refer_to_headers(header_names))


def add_standard_headers(operation: Json) -> None:
    """Document the headers that every response has, also a response from a library's route."""
    for response in operation["responses"].values():
        response.setdefault("headers", {}).update(refer_to_headers(["X-Request-ID"]))


def _responds_with(route: Route, model: type) -> bool:
    """Return whether the response model of a route is the class `model` or derived from it."""
    response_model = route.response_model
    return isinstance(response_model, type) and issubclass(response_model, model)


def _add_examples(operation: Json, schemas: Json) -> None:
    """Add an example to path parameters, the request body and successful responses without one.

    Optional parameters get no example here, because Swagger UI would send it.
    """
    for parameter in operation["parameters"]:
        if parameter["in"] == "path":
            schema = parameter["schema"]
            with suppress(MissingExample):
                # The first number is the id of an existing row.
                is_number = schema.get("type") == "integer"
                example = schema["minimum"] if is_number else build_example(schema, schemas)
                parameter.setdefault("example", example)
    bodies = [operation.get("requestBody", {})]
    for status, response in operation["responses"].items():
        if status < "300":
            bodies.append(response)
    for body in bodies:
        for media_type in body.get("content", {}).values():
            if "example" in media_type:
                continue
            # A missing example must not prevent the server from starting. A test reports it.
            with suppress(MissingExample):
                media_type["example"] = build_example(media_type["schema"], schemas)
