"""Finds the fields of a Pydantic model that contain other models."""

from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel


@dataclass(frozen=True)
class NestedModel:
    """A model that is the type of a field, or a part of it.

    Args:
        model: The model, for example `BookTag` of the field `tags: list[BookTag]`.
        is_optional: The field may be None.
        is_list: The field is a list of the model.
    """

    model: type[BaseModel]
    is_optional: bool
    is_list: bool


def find_nested_models(model: type[BaseModel]) -> dict[str, NestedModel]:
    """Return the fields of a model whose type is a model, an optional model or a list of models.

    For example `{"author": NestedModel(BookAuthor, is_optional=False, is_list=False)}`.
    """
    nested_models = {}
    for name, field in model.model_fields.items():
        nested_model = find_nested_model(field.annotation)
        if nested_model is not None:
            nested_models[name] = nested_model
    return nested_models


def find_nested_model(annotation: Any) -> NestedModel | None:
    """Return the model in a type such as `BookAuthor | None` or `list[BookTag]`.

    Returns None if the type contains no model, or other types besides the model and None.
    """
    members = union_members(annotation)
    types = [member for member in members if member is not NoneType]
    if len(types) != 1:
        return None
    [model] = types
    is_list = get_origin(model) is list
    if is_list:
        [item_type] = get_args(model)
        model = union_members(item_type)[0]
    if not isinstance(model, type) or not issubclass(model, BaseModel):
        return None
    return NestedModel(model, is_optional=NoneType in members, is_list=is_list)


def union_members(annotation: Any) -> list[Any]:
    """Return the members of a union, or a list of the type itself, without `Annotated` metadata.

    For example `[date, NoneType]` for `Annotated[date, ...] | None`, and `[str]` for `str`.
    """
    origin = get_origin(annotation)
    if origin is Annotated:
        return union_members(get_args(annotation)[0])
    if origin not in {Union, UnionType}:
        return [annotation]
    members = []
    for member in get_args(annotation):
        members += union_members(member)
    return members
