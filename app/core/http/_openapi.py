"""The OpenAPI document: what the framework generates, completed by the rules of our contract."""

import re
from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.core import access, errors
from app.core.http import _conditional as conditional
from app.core.http import _idempotency as idempotent_requests
from app.core.http import _problems as problems
from app.core.http._examples import example
from app.core.http._routing import JSON, MERGE_PATCH, Route
from app.core.schemas import MAX_INT64

_LENGTHS: Final = {"uuid": 36, "date": 10, "date-time": 32}  # of the string formats
_HEADER: Final = {"type": "string", "maxLength": conditional.MAX_HEADER}
_HEADERS: Final = {
    "X-Request-ID": "Names the request in the service's log; that of the request, if it had one",
    "Cache-Control": "Who may keep the answer",
    "ETag": "Names this state of the resource, for `If-Match` and `If-None-Match`",
    "Link": "The pages `first`, `prev`, `next` and `last`, where they are known (RFC 8288)",
    "Location": "Where it is",
    "Vary": "Which header of the request chose the form",
    "Retry-After": "Seconds until the request may be sent again",
    "Idempotency-Replayed": "`true`, and only there where the first answer to the key is repeated",
    "WWW-Authenticate": "What is wrong with the token, or that there is none (RFC 6750)",
}
# Whatever is asked for, the request may be no HTTP.
_ALWAYS: Final = (errors.InternalError, errors.InvalidRequest, errors.MalformedRequest)
_WITH_BODY: Final = (
    errors.RequestTimeout,
    errors.PayloadTooLarge,
    errors.UnsupportedMediaType,
    errors.Conflict,
)
# Relative to the document, which is where a proxy has put us.
_SCHEME: Final = {"type": "oauth2", "flows": {"password": {"tokenUrl": "tokens", "scopes": {}}}}
Json = dict[str, Any]


def openapi_document(app: FastAPI) -> Json:
    """The document, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            tags=app.openapi_tags,
            routes=app.routes,
        )
        routes = {r.operation_id: r for r in app.routes if isinstance(r, Route)}
        _complete(schema, routes, app.state.settings.anonymous_access)
        app.openapi_schema = schema
    return app.openapi_schema


def _complete(schema: Json, routes: dict[str | None, Route], anonymous: str) -> None:
    schema["components"]["securitySchemes"] = {"password": _SCHEME}
    schemas = schema["components"]["schemas"]
    schema["components"]["headers"] = {
        name: {"description": about, "schema": _HEADER} for name, about in _HEADERS.items()
    }
    for model in (problems.Problem, errors.Fault):
        made = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas[model.__name__] = {key: made[key] for key in made if key != "$defs"}
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            route = routes[operation["operationId"]]
            _add_problems(operation, method, path)
            if route.permission:
                _add_access(operation, route.permission, anonymous)
            if route.keyed:
                _add_key(operation)
            _add_conditions(operation, method)
            _add_headers(operation, keyed=route.keyed)
            _tidy_parameters(operation.get("parameters", []), path)
            _add_links(operation, path, schema)
            _add_examples(operation, schemas)
    for node in _nodes(schema):
        if node.get("format") in _LENGTHS:
            node.setdefault("maxLength", _LENGTHS[node["format"]])
        for bound in {"minimum", "maximum"} & set(node):  # the framework makes them floats
            node[bound] = min(int(node[bound]), MAX_INT64)


def _add_problems(operation: Json, method: str, path: str) -> None:
    """The problems that follow from what an operation takes; a route lists only its own."""
    kinds = [*_ALWAYS]
    if "health" not in operation["tags"]:
        kinds.append(errors.Overloaded)
    if "{" in path:
        kinds.append(errors.NotFound)
    if method in {"patch", "delete"}:
        kinds += [errors.PreconditionFailed, errors.Conflict]
    if content := operation.get("requestBody", {}).get("content"):
        kinds += _WITH_BODY
        if method == "patch" and JSON in content:
            content[MERGE_PATCH] = content[JSON]
    operation["responses"].pop("422", None)  # the framework's own
    _add_responses(operation, *kinds)


def _add_responses(operation: Json, *kinds: type[errors.ServiceError]) -> None:
    answers = operation["responses"]
    for status, general in problems.responses(*kinds).items():
        own = answers.get(str(status))
        answers[str(status)] = problems.either(own, general) if own else general
    operation["responses"] = dict(sorted(answers.items()))


def _add_access(operation: Json, permission: access.Permission, anonymous: str) -> None:
    """Whether it needs a token and whose, for programs and for people."""
    reaches = access.REACH[permission]
    token = {"password": list[str]()}
    free = reaches[anonymous] is not access.NO
    operation["security"] = [{}, token] if free else [token]
    roles = [
        role if reaches[role] is access.ALL else f"{role} (one's own)"
        for role in access.Role
        if reaches[role] is not access.NO
    ]
    who = f"Roles: {', '.join(roles)}{'; here also without a token' if free else ''}."
    operation["description"] = f"{operation['description']}\n\n{who}"
    refused = errors.Forbidden if len(roles) < len(access.Role) else errors.InvalidToken
    _add_responses(operation, errors.InvalidToken, refused)


def _add_conditions(operation: Json, method: str) -> None:
    if method == "get" and _model(operation["responses"].get("200", {})).endswith("Read"):
        description = "Answer 304 when this is the ETag; `*` for any"
        _add_header(operation, "If-None-Match", description, conditional.SCHEMA)
        operation["responses"]["304"] = {"description": "Not modified"}
    if method in {"patch", "delete"}:
        description = "Write only while this is the ETag; `*` for any"
        _add_header(operation, "If-Match", description, conditional.SCHEMA)


def _add_key(operation: Json) -> None:
    _add_header(
        operation,
        idempotent_requests.HEADER,
        idempotent_requests.HEADER_DESCRIPTION,
        idempotent_requests.HEADER_SCHEMA,
    )
    _add_responses(operation, errors.RequestInProgress, errors.IdempotencyKeyReused)


def _add_header(operation: Json, name: str, description: str, schema: Json) -> None:
    header = {"name": name, "in": "header", "description": description, "required": False}
    operation.setdefault("parameters", []).append({**header, "schema": schema})


def _add_headers(operation: Json, *, keyed: bool) -> None:
    for status, answer in operation["responses"].items():
        model = _model(answer)
        names = {
            "X-Request-ID": True,
            "Cache-Control": model != "#/components/schemas/Health" and status != "204",
            "ETag": model.endswith("Read") or status == "304",
            "Link": "/Page_" in model,
            "Location": status in {"201", "307"} and not model.endswith("/Books"),
            "Vary": len(answer.get("content", {})) > 1 and status == "200",
            "Retry-After": status in {"429", "503"} or (keyed and status == "409"),
            "Idempotency-Replayed": keyed and status < "500",
            "WWW-Authenticate": status in {"401", "403"},
        }
        answer["headers"] = {
            name: {"$ref": f"#/components/headers/{name}"} for name, sent in names.items() if sent
        }


def _model(answer: Json) -> str:
    """The reference to what an answer contains."""
    reference: str = answer.get("content", {}).get(JSON, {}).get("schema", {}).get("$ref", "")
    return reference


def _tidy_parameters(parameters: list[Json], path: str) -> None:
    owners = {name: owner for owner, name in re.findall(r"(\w+)s/{(\w+)}", path)}
    for parameter in parameters:
        for option in parameter["schema"].pop("anyOf", []):
            if option != {"type": "null"}:  # absent, not null, is how a parameter is left out
                parameter["schema"] |= option
        if parameter["name"] == "sort":
            parameter |= {"style": "form", "explode": False}
        if parameter["in"] == "path":
            parameter["description"] = f"Id of the {owners[parameter['name']]}"


def _add_links(operation: Json, path: str, schema: Json) -> None:
    """From what an operation creates to all that can be done with it: the paths that go on."""
    created = operation["responses"].get("201", {})
    made = schema["components"]["schemas"].get(_model(created).rpartition("/")[2], {})
    if "Location" not in created.get("headers", {}) or "id" not in made.get("properties", {}):
        return
    known = {name: f"$request.path.{name}" for name in re.findall(r"{(\w+)}", path)}
    for other, item in schema["paths"].items():
        if found := re.fullmatch(rf"{re.escape(path)}/{{(\w+)}}(/\w+)*", other):
            parameters = {**known, found[1]: "$response.body#/id"}
            for each in item.values():
                link = {"operationId": each["operationId"], "parameters": parameters}
                created.setdefault("links", {})[each["operationId"]] = link


def _add_examples(operation: Json, schemas: Json) -> None:
    answers = [answer for status, answer in operation["responses"].items() if status < "300"]
    for part in (operation.get("requestBody", {}), *answers):
        for content in part.get("content", {}).values():
            if "example" not in content:
                content["example"] = example(content["schema"], schemas)


def _nodes(node: Any) -> Iterator[Json]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    for child in node if isinstance(node, list) else ():
        yield from _nodes(child)
