"""Query parameters of endpoints: reject unknown parameters, and document those that exist."""

from collections import Counter
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel, BeforeValidator

from app.core.errors import InvalidRequest
from app.core.field_errors import MAX_FIELD_ERRORS, FieldError
from app.core.http._array_parameters import rename_array_parameters
from app.core.http._unknown_parameters import UNKNOWN_PARAMETER, describe_unknown_parameter
from app.core.paging import CommaSeparated

# To look for the name that is meant takes longer than all other checks of a parameter.
_MAX_EXPLAINED_PARAMETERS: Final = 10


class RefusedParameter(BeforeValidator):
    """Annotation of a query parameter that clients must not send. It is not documented.

    Without the parameter, the error would only say that it is unknown. The function of the
    annotation raises an error that says why it is refused.
    """


def find_query_model(dependant: Dependant) -> type[BaseModel] | None:
    """Return the model that declares the query parameters of an endpoint, if it has one.

    For example, the query model of an endpoint with the parameter
    `query: Annotated[BookQuery, Query()]` is `BookQuery`. Returns None if an endpoint declares its
    query parameters one by one. `dependant` is FastAPI's analysis of the endpoint.
    """
    for parameter in dependant.query_params:
        annotation = parameter.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
    return None


def allowed_query_parameters(dependant: Dependant) -> dict[str, bool]:
    """Return which query parameters an endpoint has, and for each whether it may be repeated.

    For example, `{"page": False, "id": True}` allows `?page=2&id=7&id=8`. The parameters of the
    endpoint's dependencies are included. `dependant` is FastAPI's analysis of the endpoint.
    """
    may_be_repeated = {}
    query_model = find_query_model(dependant)
    # FastAPI does not combine a query model with other query parameters.
    if query_model is not None:
        may_be_repeated = query_model_parameters(query_model)
    else:
        for parameter in dependant.query_params:
            annotation = parameter.field_info.annotation
            may_be_repeated[parameter.alias] = _is_collection_type(annotation)

    for dependency in dependant.dependencies:
        may_be_repeated |= allowed_query_parameters(dependency)
    return may_be_repeated


def query_model_parameters(query_model: type[BaseModel]) -> dict[str, bool]:
    """Return which parameters a query model declares, and for each whether it may be repeated.

    For example, `{"page": False, "id": True}` allows `?page=2&id=7&id=8`. A parameter may be
    repeated if its type is a collection.
    """
    return {
        field.alias or name: _is_collection_type(field.annotation)
        for name, field in query_model.model_fields.items()
    }


def _is_collection_type(annotation: Any) -> bool:
    """Return whether a type annotation is a list, tuple or set, or a union with one of them.

    For example, it is true for `tuple[UUID, ...] | None`, and false for `str`.
    """
    if get_origin(annotation) in {Union, UnionType}:
        return any(_is_collection_type(member_type) for member_type in get_args(annotation))
    # The origin of `list[int]` is `list`. A class such as `list` does not have an origin.
    base_type = get_origin(annotation) or annotation
    return (
        isinstance(base_type, type)
        and issubclass(base_type, Sequence | set | frozenset)
        and not issubclass(base_type, str | bytes)
    )


def check_query_parameters(request: Request, allowed_parameters: dict[str, bool]) -> None:
    """Raise `InvalidRequest` if a request has a query parameter that its endpoint does not allow.

    `allowed_parameters` contains the known parameters, and for each whether it may be repeated. For
    example, `{"page": False, "id": True}` allows `?page=2&id=7&id=8`, but not `?page=2&page=3`.

    Names of arrays such as `id[]` are replaced in the request (see `_array_parameters.py`).
    """
    rename_array_parameters(request, allowed_parameters)
    occurrences_by_name = Counter(name for name, _ in request.query_params.multi_items())
    field_errors: list[FieldError] = []
    for name, occurrences in occurrences_by_name.items():
        if len(field_errors) > MAX_FIELD_ERRORS:
            # The response does not list more. A query may have thousands of unknown parameters.
            break
        if name not in allowed_parameters:
            code = "unknown_parameter"
            detail = UNKNOWN_PARAMETER
            if len(field_errors) < _MAX_EXPLAINED_PARAMETERS:
                detail = describe_unknown_parameter(name, allowed_parameters)
            field_errors.append(FieldError(parameter=name, code=code, detail=detail))
        elif occurrences > 1 and not allowed_parameters[name]:
            code = "repeated_parameter"
            detail = "Must not be repeated"
            field_errors.append(FieldError(parameter=name, code=code, detail=detail))
    if field_errors:
        raise InvalidRequest(*field_errors)


def openapi_query_parameters(query_model: type[BaseModel]) -> Iterator[dict[str, Any]]:
    """Yield the OpenAPI description of each query parameter that a model declares. Example:

        {"name": "size", "in": "query", "required": False,
         "description": "Rows per page", "schema": {"type": "integer", "maximum": 100}}

    FastAPI could also document these parameters, but would leave out `json_schema_extra`.
    """
    comma_separated_names = _find_annotated_parameters(query_model, CommaSeparated)
    refused_names = _find_annotated_parameters(query_model, RefusedParameter)
    schemas_by_name = query_model.model_json_schema().get("properties", {})

    for name, schema in schemas_by_name.items():
        if name in refused_names:
            continue
        parameter = {"name": name, "in": "query", "required": False}
        parameter["description"] = schema.pop("description", name)
        # The default None means that the parameter is absent. A client could not send it.
        if "default" in schema and schema["default"] is None:
            del schema["default"]
        parameter["schema"] = schema
        if name in comma_separated_names:
            # OpenAPI's notation for a list in one parameter, for example `sort=title,-id`.
            parameter |= {"style": "form", "explode": False}
        yield parameter


def _find_annotated_parameters(query_model: type[BaseModel], annotation_class: type) -> set[str]:
    """Return the names of the parameters that have an annotation of a class."""
    return {
        field.alias or name
        for name, field in query_model.model_fields.items()
        if any(isinstance(annotation, annotation_class) for annotation in field.metadata)
    }
