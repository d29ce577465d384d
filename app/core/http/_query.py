"""Query parameters of a route: check that they are known, and document them."""

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
    """Return the model of `query: Annotated[BookQuery, Query()]`, if the endpoint has one."""
    for parameter in dependant.query_params:
        annotation = parameter.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
    return None


def allowed_query_parameters(dependant: Dependant) -> dict[str, bool]:
    """Return every query parameter of a route, and whether it may be repeated.

    For example `{"page": False, "id": True}`. The parameters of its dependencies are included.
    """
    parameters = {}
    model = find_query_model(dependant)
    # FastAPI does not combine a query model with other query parameters.
    if model is not None:
        parameters = query_model_parameters(model)
    else:
        for parameter in dependant.query_params:
            parameters[parameter.alias] = is_sequence(parameter.field_info.annotation)
    for dependency in dependant.dependencies:
        parameters |= allowed_query_parameters(dependency)
    return parameters


def query_model_parameters(model: type[BaseModel]) -> dict[str, bool]:
    """Return the parameters of a query model, and whether each may be repeated."""
    return {
        field.alias or name: is_sequence(field.annotation)
        for name, field in model.model_fields.items()
    }


def is_sequence(annotation: Any) -> bool:
    """Return whether an annotation is a list, tuple or set, optional or not."""
    if get_origin(annotation) in {Union, UnionType}:
        return any(is_sequence(option) for option in get_args(annotation))
    origin = get_origin(annotation) or annotation
    return (
        isinstance(origin, type)
        and issubclass(origin, Sequence | set | frozenset)
        and not issubclass(origin, str | bytes)
    )


def check_query_parameters(request: Request, parameters: dict[str, bool]) -> None:
    """Raise `InvalidRequest` for parameters that are unknown, or repeated but may not be."""
    names = [name for name, _ in request.query_params.multi_items()]
    faults = []
    for name in dict.fromkeys(names):
        if name not in parameters:
            faults.append(_fault(name, "unknown_parameter", "Unknown parameter"))
        elif names.count(name) > 1 and not parameters[name]:
            faults.append(_fault(name, "repeated_parameter", "Must not be repeated"))
    if faults:
        raise InvalidRequest(*faults)


def openapi_query_parameters(model: type[BaseModel]) -> Iterator[dict[str, Any]]:
    """Return the OpenAPI parameters of a query model.

    FastAPI documents query models as well, but drops what `json_schema_extra` adds or removes.
    """
    metadata_by_name = {
        field.alias or name: field.metadata for name, field in model.model_fields.items()
    }
    for name, schema in model.model_json_schema().get("properties", {}).items():
        parameter = {"name": name, "in": "query", "required": False}
        parameter["description"] = schema.pop("description", name)
        # None stands for an absent parameter, which is not a default that a client could send.
        if "default" in schema and schema["default"] is None:
            del schema["default"]
        parameter["schema"] = schema
        metadata = metadata_by_name[name]
        if any(isinstance(item, CommaSeparated) for item in metadata):
            parameter |= {"style": "form", "explode": False}
        yield parameter


def _fault(name: str, code: str, detail: str) -> FieldError:
    return FieldError(parameter=name, code=code, detail=detail)
