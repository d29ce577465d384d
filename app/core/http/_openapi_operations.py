"""Completes one operation of the OpenAPI document: parameters, headers, examples and links."""

import re
from contextlib import suppress
from typing import Final

from app.core import errors
from app.core.http import _conditional as conditional
from app.core.http._bodies import JSON_MEDIA_TYPE
from app.core.http._examples import MissingExample, build_example
from app.core.http._idempotency_key import (
    IDEMPOTENCY_KEY_DESCRIPTION,
    IDEMPOTENCY_KEY_HEADER,
    IDEMPOTENCY_KEY_SCHEMA,
)
from app.core.http._openapi_problems import (
    Json,
    add_access,
    add_general_problems,
    add_implied_problems,
    add_problems,
)
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
    "The ETags of the representations that the client has. If the current ETag is one of them, the"
    " response is 304 and has no content. `*` matches every ETag"
)
_IF_MATCH_DESCRIPTION: Final = (
    "The ETags that the resource may have. If its current ETag is not one of them, the resource is"
    " not changed and the response is 412. `*` matches every ETag"
)


def complete_operation(
    operation: Json, method: str, path: str, route: Route, schemas: Json, anonymous_access: str
) -> None:
    """Add to the operation that FastAPI generated for a route what the route declares.

    Args:
        operation: The operation in the OpenAPI document. It is changed in place.
        method: The method of the operation, for example "get".
        path: The path of the operation, for example "/books/{id}".
        route: The route of the operation.
        schemas: The named schemas of the document, to which `$ref` refers.
        anonymous_access: The setting ANONYMOUS_ACCESS.
    """
    _add_summary(operation)
    _describe_success(operation)
    _complete_parameters(operation, route)
    add_general_problems(operation)
    add_implied_problems(operation, method, path, route)
    add_access(operation, route.permission, anonymous_access)
    if route.accepts_idempotency_key:
        _add_idempotency_key(operation)
    _add_conditional_headers(operation, method, route)
    _add_response_headers(operation, route)
    _add_examples(operation, schemas)


def _add_summary(operation: Json) -> None:
    """Split the docstring of an endpoint into a summary and a description.

    The summary is the first paragraph without its final period, for example "Get a book". The
    other paragraphs are the description.
    """
    first_paragraph, _, description = operation.pop("description", "").partition("\n\n")
    operation["summary"] = " ".join(first_paragraph.split()).removesuffix(".")
    if description:
        operation["description"] = description.strip()


def _describe_success(operation: Json) -> None:
    """Replace FastAPI's "Successful Response", for example by "Created"."""
    for status, response in operation["responses"].items():
        if response.get("description") == "Successful Response":
            response["description"] = _SUCCESS_DESCRIPTIONS.get(status, "Success")


def _complete_parameters(operation: Json, route: Route) -> None:
    """Document the fields of the query model as parameters, and remove null from parameters.

    FastAPI documents an optional parameter as one that may be null, but a client omits it instead.
    """
    parameters = operation.setdefault("parameters", [])
    model = find_query_model(route.dependant)
    if model is not None:
        not_in_query = [parameter for parameter in parameters if parameter["in"] != "query"]
        parameters = [*not_in_query, *openapi_query_parameters(model)]
        # The parameters are moved to the end of the operation.
        del operation["parameters"]
        operation["parameters"] = parameters
    for parameter in parameters:
        schema = parameter["schema"]
        for option in schema.pop("anyOf", []):
            if option != {"type": "null"}:
                schema |= option
        if "description" in schema:
            parameter["description"] = schema.pop("description")


def _add_idempotency_key(operation: Json) -> None:
    """Document the header Idempotency-Key and the problems that it may cause."""
    _add_header_parameter(
        operation, IDEMPOTENCY_KEY_HEADER, IDEMPOTENCY_KEY_DESCRIPTION, IDEMPOTENCY_KEY_SCHEMA
    )
    add_problems(operation, errors.RequestInProgress, errors.IdempotencyKeyReused)


def _add_conditional_headers(operation: Json, method: str, route: Route) -> None:
    """Document If-None-Match for reads of a single resource, and If-Match for writes."""
    if method == "get" and _responds_with(route, ReadModel):
        _add_header_parameter(
            operation, "If-None-Match", _IF_NONE_MATCH_DESCRIPTION, conditional.ENTITY_TAGS_SCHEMA
        )
        operation["responses"]["304"] = {"description": "Not modified"}
    if method in {"patch", "delete"}:
        _add_header_parameter(
            operation, "If-Match", _IF_MATCH_DESCRIPTION, conditional.ENTITY_TAGS_SCHEMA
        )


def _add_header_parameter(operation: Json, name: str, description: str, schema: Json) -> None:
    """Document an optional header of the request."""
    parameter = {
        "name": name,
        "in": "header",
        "description": description,
        "required": False,
        "schema": schema,
    }
    operation.setdefault("parameters", []).append(parameter)


def _add_response_headers(operation: Json, route: Route) -> None:
    """Add the headers that each response of an operation may have."""
    for status, response in operation["responses"].items():
        is_problem = status >= "400"
        is_success = status < "300"
        is_cacheable = route.cache_control is not None and status != "204"
        has_several_media_types = status == "200" and len(response.get("content", {})) > 1
        # The request with the same Idempotency-Key is still in progress.
        may_be_in_progress = status == "409" and route.accepts_idempotency_key
        is_sent = {
            "X-Request-ID": True,
            "Cache-Control": is_problem or is_cacheable,
            "ETag": (is_success and _responds_with(route, ReadModel)) or status == "304",
            "Link": is_success and _responds_with(route, Page),
            "Location": route.has_location and not is_problem,
            "Vary": has_several_media_types,
            "Retry-After": status in {"429", "503"} or may_be_in_progress,
            "Idempotency-Replayed": route.accepts_idempotency_key and status < "500",
            "WWW-Authenticate": status in {"401", "403"},
        }
        response["headers"] = _header_references([name for name in is_sent if is_sent[name]])


def add_standard_headers(operation: Json) -> None:
    """Add the headers that every response has, including those of foreign routes."""
    for response in operation["responses"].values():
        response.setdefault("headers", {}).update(_header_references(["X-Request-ID"]))


def _header_references(names: list[str]) -> Json:
    """Return `{"ETag": {"$ref": "#/components/headers/ETag"}}` for `["ETag"]`."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _responds_with(route: Route, model: type) -> bool:
    """Return whether the response model of a route is a model or a subclass of it."""
    response_model = route.response_model
    return isinstance(response_model, type) and issubclass(response_model, model)


def add_links(operation: Json, path: str, document: Json) -> None:
    """Link the resource that an operation creates to the operations on this resource.

    These are the operations of the paths below the path of the operation: the response of
    `POST /authors` has a link to `GET /authors/{id}`, whose `id` is that of the response.
    """
    created = operation["responses"].get("201", {})
    reference = (
        created.get("content", {}).get(JSON_MEDIA_TYPE, {}).get("schema", {}).get("$ref", "")
    )
    schema = document["components"]["schemas"].get(reference.rpartition("/")[2], {})
    if "Location" not in created.get("headers", {}) or "id" not in schema.get("properties", {}):
        return
    parent_parameters = {name: f"$request.path.{name}" for name in re.findall(r"{(\w+)}", path)}
    for other_path, path_item in document["paths"].items():
        match = re.fullmatch(rf"{re.escape(path)}/{{(\w+)}}(/\w+)*", other_path)
        if match is None:
            continue
        id_parameter = match[1]
        parameters = {**parent_parameters, id_parameter: "$response.body#/id"}
        for other in path_item.values():
            link = {"operationId": other["operationId"], "parameters": parameters}
            created.setdefault("links", {})[other["operationId"]] = link


def _add_examples(operation: Json, schemas: Json) -> None:
    """Add examples of the request body and of successful responses that have none."""
    successful = [response for status, response in operation["responses"].items() if status < "300"]
    for body in (operation.get("requestBody", {}), *successful):
        for media_type in body.get("content", {}).values():
            if "example" in media_type:
                continue
            # A document without an example is better than none. A test finds what is missing.
            with suppress(MissingExample):
                media_type["example"] = build_example(media_type["schema"], schemas)
