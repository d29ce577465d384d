"""Query parameters of an endpoint: rejects unknown ones, and documents those that it has."""

from collections import Counter
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel

from app.core.errors import InvalidRequest
from app.core.field_errors import FieldError
from app.core.paging import CommaSeparated


def find_query_model(dependant: Dependant) -> type[BaseModel] | None:
    """Return the query model of an endpoint, or None if it does not have one.

    It is `BookQuery` if the endpoint has the parameter `query: Annotated[BookQuery, Query()]`.
    """
    for parameter in dependant.query_params:
        annotation = parameter.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
    return None


def allowed_query_parameters(dependant: Dependant) -> dict[str, bool]:
    """Return the query parameters of an endpoint, and whether each may be repeated.

    For example `{"page": False, "id": True}`. The parameters of its dependencies are included.
    """
    parameters = {}
    model = find_query_model(dependant)
    # FastAPI does not combine a query model with other query parameters.
    if model is not None:
        parameters = query_model_parameters(model)
    else:
        for parameter in dependant.query_params:
            parameters[parameter.alias] = _is_sequence(parameter.field_info.annotation)
    for dependency in dependant.dependencies:
        parameters |= allowed_query_parameters(dependency)
    return parameters


def query_model_parameters(model: type[BaseModel]) -> dict[str, bool]:
    """Return the parameters of a query model, and whether each may be repeated.

    For example `{"page": False, "id": True}`. A parameter whose type is a sequence may be repeated.
    """
    return {
        field.alias or name: _is_sequence(field.annotation)
        for name, field in model.model_fields.items()
    }


def _is_sequence(annotation: Any) -> bool:
    """Return whether a type is a list, tuple or set, for example `tuple[UUID, ...] | None`."""
    if get_origin(annotation) in {Union, UnionType}:
        return any(_is_sequence(option) for option in get_args(annotation))
    origin = get_origin(annotation) or annotation
    return (
        isinstance(origin, type)
        and issubclass(origin, Sequence | set | frozenset)
        and not issubclass(origin, str | bytes)
    )


def check_query_parameters(request: Request, allowed_parameters: dict[str, bool]) -> None:
    """Raise `InvalidRequest` if the query has an unknown parameter, or repeats one.

    `allowed_parameters` states whether each known parameter may be repeated, for example
    `{"page": False, "id": True}`.
    """
    counts = Counter(name for name, _ in request.query_params.multi_items())
    field_errors = []
    for name, count in counts.items():
        if name not in allowed_parameters:
            code = "unknown_parameter"
            field_errors.append(FieldError(parameter=name, code=code, detail="Unknown parameter"))
        elif count > 1 and not allowed_parameters[name]:
            code = "repeated_parameter"
            detail = "Must not be repeated"
            field_errors.append(FieldError(parameter=name, code=code, detail=detail))
    if field_errors:
        raise InvalidRequest(*field_errors)


def openapi_query_parameters(model: type[BaseModel]) -> Iterator[dict[str, Any]]:
    """Return the OpenAPI parameters of a query model, one for each field. Example:

        {"name": "size", "in": "query", "required": False,
         "description": "Rows per page", "schema": {"type": "integer", "maximum": 100}}

    FastAPI documents query models as well, but ignores `json_schema_extra`.
    """
    metadata_by_name = {
        field.alias or name: field.metadata for name, field in model.model_fields.items()
    }
    properties = model.model_json_schema().get("properties", {})
    for name, schema in properties.items():
        parameter = {"name": name, "in": "query", "required": False}
        parameter["description"] = schema.pop("description", name)
        # None stands for an absent parameter, which is not a default that a client could send.
        if "default" in schema and schema["default"] is None:
            del schema["default"]
        parameter["schema"] = schema
        if any(isinstance(item, CommaSeparated) for item in metadata_by_name[name]):
            # The standard way to document comma-separated values, for example `sort=title,-id`.
            parameter |= {"style": "form", "explode": False}
        yield parameter
