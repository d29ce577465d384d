"""Finds the fields of a Pydantic model that contain other models."""

from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel


@dataclass(frozen=True)
class NestedModel:
    """The model that a field of another model contains, such as `BookTag` in `list[BookTag]`.

    For the field `author: BookAuthor | None`, this is
    `NestedModel(BookAuthor, is_optional=True, is_list=False)`.

    Attributes:
        model: The Pydantic model.
        is_optional: Whether the field may be None.
        is_list: Whether the field is a list of such models.
    """

    model: type[BaseModel]
    is_optional: bool
    is_list: bool


def find_nested_models(model: type[BaseModel]) -> dict[str, NestedModel]:
    """Return the fields of a Pydantic model that contain another model or a list of models.

    For `BookRead`, whose field `author` has the type `BookAuthor`, the result is
    `{"author": NestedModel(BookAuthor, is_optional=False, is_list=False)}`.
    """
    nested_models = {}
    for field_name, field in model.model_fields.items():
        nested_model = find_nested_model(field.annotation)
        if nested_model is not None:
            nested_models[field_name] = nested_model
    return nested_models


def find_nested_model(annotation: Any) -> NestedModel | None:
    """Return the model in a type such as `BookAuthor`, `BookAuthor | None` or `list[BookTag]`.

    Returns None for any other type, for example `str`, or a union of two models.
    """
    members = union_members(annotation)
    types_except_none = [member for member in members if member is not NoneType]
    if len(types_except_none) != 1:
        return None
    [nested_type] = types_except_none

    is_list = get_origin(nested_type) is list
    if is_list:
        [item_type] = get_args(nested_type)
        # This is `BookTag` for `list[Annotated[BookTag, ...]]`.
        nested_type = union_members(item_type)[0]

    if not isinstance(nested_type, type) or not issubclass(nested_type, BaseModel):
        return None
    return NestedModel(nested_type, is_optional=NoneType in members, is_list=is_list)


def union_members(annotation: Any) -> list[Any]:
    """Return the types that a union combines, without the metadata of `Annotated`.

    For example, returns `[date, NoneType]` for `Annotated[date, ...] | None`. A type that is not a
    union is returned as the only member, for example `[str]` for `str`.
    """
    origin = get_origin(annotation)
    if origin is Annotated:
        annotated_type = get_args(annotation)[0]
        return union_members(annotated_type)
    if origin not in {Union, UnionType}:
        return [annotation]
    members = []
    for member in get_args(annotation):
        # A member may itself be annotated, for example `Annotated[date, ...]`.
        members += union_members(member)
    return members
