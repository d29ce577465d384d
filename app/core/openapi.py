"""The OpenAPI document: what the framework generates, and the rules of the wire contract."""

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.core import problems
from app.core.conditional import MAX_HEADER
from app.core.errors import (
    Conflict,
    InternalError,
    InvalidRequest,
    MalformedRequest,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    PreconditionFailed,
    ServiceError,
    Unavailable,
    UnsupportedMediaType,
)
from app.core.routing import JSON, MERGE_PATCH

_LENGTHS: Final = {"uuid": 36, "date": 10, "date-time": 32}  # of the string formats
_BODY: Final = (MalformedRequest, PayloadTooLarge, UnsupportedMediaType)


def document(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            tags=app.openapi_tags,
            routes=app.routes,
        )
        _complete(schema)
        app.openapi_schema = schema
    return app.openapi_schema


def _complete(schema: dict[str, Any]) -> None:
    schemas = schema["components"]["schemas"]
    for generated in ("HTTPValidationError", "ValidationError"):
        schemas.pop(generated, None)
    for model in (problems.Problem, problems.Fault):
        schemas[model.__name__] = model.model_json_schema(
            ref_template="#/components/schemas/{model}"
        )
        schemas[model.__name__].pop("$defs", None)
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            if operation["tags"] != ["health"]:
                _add_problems(operation, method, path)
                _add_conditions(operation, method, path)
            _add_headers(operation)
            _tidy_parameters(operation)
    for node in _nodes(schema):
        if node.get("format") in _LENGTHS:
            node.setdefault("maxLength", _LENGTHS[node["format"]])


def _add_problems(operation: dict[str, Any], method: str, path: str) -> None:
    """Which problems follow from what an operation takes; the routes list only their own."""
    kinds: list[type[ServiceError]] = [InvalidRequest, InternalError, Unavailable, Overloaded]
    if "{" in path:
        kinds.append(NotFound)
    if method != "get":
        kinds.append(Conflict)
    if method in {"patch", "delete"}:
        kinds.append(PreconditionFailed)
    if "requestBody" in operation:
        kinds += _BODY
        content = operation["requestBody"]["content"]
        if method == "patch":
            content[MERGE_PATCH] = content[JSON]
    operation["responses"].pop("422", None)  # the framework's own
    for status, response in problems.responses(*kinds).items():
        problems.merge(operation["responses"].setdefault(str(status), response), response)


def _add_conditions(operation: dict[str, Any], method: str, path: str) -> None:
    if method == "get" and path.endswith("}"):
        schema = {"type": "string", "maxLength": MAX_HEADER}
        operation["parameters"].append(
            {
                "name": "If-None-Match",
                "in": "header",
                "required": False,
                "description": "Answer 304 when the ETag is one of these; `*` for any",
                "schema": schema,
            }
        )
        operation["responses"]["304"] = {"description": "Not modified"}


def _add_headers(operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        names = ["X-Request-ID"]
        reference = response.get("content", {}).get(JSON, {}).get("schema", {}).get("$ref", "")
        if reference.endswith("Read") or status == "304":
            names.append("ETag")
        if "/Page_" in reference:
            names.append("Link")
        if status == "201":
            names.append("Location")
        if status == "503":
            names.append("Retry-After")
        string = {"schema": {"type": "string", "maxLength": MAX_HEADER}}
        response["headers"] = dict.fromkeys(names, string)


def _tidy_parameters(operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", []):
        schema = parameter["schema"]
        options = [option for option in schema.pop("anyOf", []) if option != {"type": "null"}]
        if options:  # absent, not null, is how a parameter is left out
            schema.update(options[0])
        if parameter["name"] == "sort":
            parameter |= {"style": "form", "explode": False}


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from _nodes(child)
