"""One operation of the OpenAPI document: its problems, access, headers, parameters, examples."""

import re
from contextlib import suppress
from typing import Any, Final

from app.core import errors
from app.core.access import ALL, NONE, Permission, Role, get_scope
from app.core.http import _conditional as conditional
from app.core.http import _idempotency as idempotency
from app.core.http import _problems as problems
from app.core.http._bodies import JSON, MERGE_PATCH
from app.core.http._examples import MissingExample, example
from app.core.http._query import document_query, query_model
from app.core.http._route import Route
from app.core.paging import Page
from app.core.schemas import ReadModel

Json = dict[str, Any]
# Problems of every operation. A request may be malformed as HTTP whatever it asks for.
_ALWAYS: Final = (errors.InternalError, errors.InvalidRequest, errors.MalformedRequest)
_WITH_BODY: Final = (
    errors.RequestTimeout,
    errors.PayloadTooLarge,
    errors.UnsupportedMediaType,
    errors.Conflict,
)


def complete_operation(
    operation: Json, method: str, path: str, route: Route, schemas: Json, anonymous_access: str
) -> None:
    """Add to FastAPI's description of an operation what follows from its route."""
    _add_summary(operation)
    _document_parameters(operation, route)
    add_general_problems(operation)
    _add_problems(operation, method, path, route)
    add_access(operation, route.permission, anonymous_access)
    if route.accepts_idempotency_key:
        _add_idempotency_key(operation)
    _add_conditions(operation, method, route)
    _add_headers(operation, route)
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


def add_general_problems(operation: Json) -> None:
    """Replace FastAPI's own 422 by the problems that every operation can respond with."""
    operation["responses"].pop("422", None)
    _add_responses(operation, *_ALWAYS)


def _add_problems(operation: Json, method: str, path: str, route: Route) -> None:
    """Add the problems that follow from what an operation takes. A route lists only its own."""
    kinds: list[type[errors.ServiceError]] = []
    # An endpoint without dependencies uses no connection for which it would have to wait.
    if route.permission != "public" or route.dependant.dependencies:
        kinds.append(errors.Overloaded)
    if "{" in path:
        kinds.append(errors.NotFound)
    if method in {"patch", "delete"}:
        kinds += [errors.PreconditionFailed, errors.Conflict]
    content = operation.get("requestBody", {}).get("content")
    if content:
        kinds += _WITH_BODY
        if method == "patch" and JSON in content:
            content[MERGE_PATCH] = content[JSON]
    _add_responses(operation, *kinds)


def _add_responses(operation: Json, *kinds: type[errors.ServiceError]) -> None:
    responses = operation["responses"]
    for status, general in problems.responses(*kinds).items():
        own = responses.get(str(status))
        responses[str(status)] = problems.either(own, general) if own else general
    operation["responses"] = dict(sorted(responses.items()))


def add_access(operation: Json, permission: Permission, anonymous_access: str) -> None:
    """State whether an operation needs a token and of which role, for programs and for people."""
    if permission == "public":
        return
    token = {"password": list[str]()}
    is_open = get_scope(permission, anonymous_access) is not NONE
    operation["security"] = [{}, token] if is_open else [token]
    roles = []
    for role in Role:
        scope = get_scope(permission, role)
        if scope is ALL:
            roles.append(str(role))
        elif scope is not NONE:
            roles.append(f"{role} (only their own)")
    access = f"Roles: {', '.join(roles)}."
    if is_open:
        access += " A token is not required."
    operation["description"] = f"{operation.get('description', '')}\n\n{access}".strip()
    refused = errors.Forbidden if len(roles) < len(Role) else errors.InvalidToken
    _add_responses(operation, errors.InvalidToken, refused)


def _add_idempotency_key(operation: Json) -> None:
    _add_header_parameter(
        operation, idempotency.HEADER, idempotency.HEADER_DESCRIPTION, idempotency.HEADER_SCHEMA
    )
    _add_responses(operation, errors.RequestInProgress, errors.IdempotencyKeyReused)


def _add_conditions(operation: Json, method: str, route: Route) -> None:
    if method == "get" and _returns(route, ReadModel):
        description = "Answer 304 when this is the ETag; `*` for any"
        _add_header_parameter(operation, "If-None-Match", description, conditional.HEADER_SCHEMA)
        operation["responses"]["304"] = {"description": "Not modified"}
    if method in {"patch", "delete"}:
        description = "Write only while this is the ETag; `*` for any"
        _add_header_parameter(operation, "If-Match", description, conditional.HEADER_SCHEMA)


def _add_header_parameter(operation: Json, name: str, description: str, schema: Json) -> None:
    header = {"name": name, "in": "header", "description": description, "required": False}
    operation.setdefault("parameters", []).append({**header, "schema": schema})


def _add_headers(operation: Json, route: Route) -> None:
    """Add the headers of each response."""
    for status, response in operation["responses"].items():
        is_problem = status >= "400"
        is_success = status < "300"
        is_cacheable = route.cache_control is not None and status != "204"
        is_retried = status == "409" and route.accepts_idempotency_key
        has_several_forms = status == "200" and len(response.get("content", {})) > 1
        sent = {
            "X-Request-ID": True,
            "Cache-Control": is_problem or is_cacheable,
            "ETag": (is_success and _returns(route, ReadModel)) or status == "304",
            "Link": is_success and _returns(route, Page),
            "Location": route.has_location and not is_problem,
            "Vary": has_several_forms,
            "Retry-After": status in {"429", "503"} or is_retried,
            "Idempotency-Replayed": route.accepts_idempotency_key and status < "500",
            "WWW-Authenticate": status in {"401", "403"},
        }
        response["headers"] = _header_references([name for name in sent if sent[name]])


def add_standard_headers(operation: Json) -> None:
    """Add the headers that every response has, also those of foreign routes."""
    for response in operation["responses"].values():
        response.setdefault("headers", {}).update(_header_references(["X-Request-ID"]))


def _header_references(names: list[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _returns(route: Route, model: type) -> bool:
    returned = route.response_model
    return isinstance(returned, type) and issubclass(returned, model)


def _document_parameters(operation: Json, route: Route) -> None:
    """Complete the descriptions of path and query parameters."""
    parameters = operation.setdefault("parameters", [])
    model = query_model(route.dependant)
    if model is not None:
        not_in_query = [parameter for parameter in parameters if parameter["in"] != "query"]
        del operation["parameters"]
        operation["parameters"] = parameters = [*not_in_query, *document_query(model)]
    for parameter in parameters:
        schema = parameter["schema"]
        # A parameter is left out by being absent, not by null.
        for option in schema.pop("anyOf", []):
            if option != {"type": "null"}:
                schema |= option
        if "description" in schema:
            parameter["description"] = schema.pop("description")


def add_links(operation: Json, path: str, document: Json) -> None:
    """Link what an operation creates to the operations on it: the paths below this one."""
    created = operation["responses"].get("201", {})
    reference = created.get("content", {}).get(JSON, {}).get("schema", {}).get("$ref", "")
    schema = document["components"]["schemas"].get(reference.rpartition("/")[2], {})
    if "Location" not in created.get("headers", {}) or "id" not in schema.get("properties", {}):
        return
    known = {name: f"$request.path.{name}" for name in re.findall(r"{(\w+)}", path)}
    for other_path, item in document["paths"].items():
        match = re.fullmatch(rf"{re.escape(path)}/{{(\w+)}}(/\w+)*", other_path)
        if match is None:
            continue
        parameters = {**known, match[1]: "$response.body#/id"}
        for other in item.values():
            link = {"operationId": other["operationId"], "parameters": parameters}
            created.setdefault("links", {})[other["operationId"]] = link


def _add_examples(operation: Json, schemas: Json) -> None:
    """Add examples of the request body and of successful responses, where the models have any."""
    successful = [response for status, response in operation["responses"].items() if status < "300"]
    for part in (operation.get("requestBody", {}), *successful):
        for content in part.get("content", {}).values():
            if "example" not in content:
                _add_example(content, schemas)


def _add_example(content: Json, schemas: Json) -> None:
    # A document without an example is better than none; a test finds the missing example.
    with suppress(MissingExample):
        content["example"] = example(content["schema"], schemas)
