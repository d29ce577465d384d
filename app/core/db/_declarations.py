"""Checks that the declarations of a read model and its mapped class fit together.

Each check raises `TypeError` with a sentence that names the field and says what to do.
"""

import operator
from typing import Any, Final

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import RelationshipProperty

from app.core.db._models import Base
from app.core.schemas import Nested, find_nested_models

Column = sa.ColumnElement[Any]
Relationship = RelationshipProperty[Any]
# Types whose values SQLAlchemy converts. In JSON they would have the form that Postgres stores.
_CHANGED_BY_JSON: Final = (sa.types.TypeDecorator, sa.LargeBinary, sa.Interval)


def require_creation_from_field_names(model: type[BaseModel]) -> None:
    """Refuse a model that cannot be created from the names of its fields."""
    by_name = model.model_config.get("populate_by_name") or model.model_config.get(
        "validate_by_name"
    )
    for name, field in model.model_fields.items():
        if field.validation_alias is not None and not by_name:
            raise TypeError(
                f"{model.__name__}.{name} has an alias, but rows have the names of the fields. "
                "Make it a `serialization_alias`, or set `validate_by_name` in `model_config`."
            )


def require_same_values_in_json(field: str, relationship: Relationship, nested: Nested) -> None:
    """Refuse columns of a list that are not the same in its JSON as in a row."""
    columns = relationship.mapper.local_table.c
    for name in nested.model.model_fields:
        column_type = columns[name].type
        if isinstance(column_type, sa.Enum):
            # SQLAlchemy stores the names of the members unless `values_callable` is set.
            members = column_type.enum_class or ()
            is_same = all(str(member.value) in column_type.enums for member in members)
        else:
            is_same = not isinstance(column_type, _CHANGED_BY_JSON)
        if not is_same:
            raise TypeError(
                f"{field} embeds {nested.model.__name__}, whose field {name} is not read as "
                f"{column_type!r} in a list. Store it as text or a number (an Enum with "
                "`values_callable`), or remove the field."
            )


def check_columns(field: str, relationship: Relationship, nested: Nested) -> None:
    """Refuse an embedded model whose fields are not columns, or change without a version."""
    target = relationship.mapper.class_
    columns = relationship.mapper.local_table.c
    missing = [name for name in nested.model.model_fields if name not in columns]
    if missing:
        raise TypeError(
            f"{field} embeds {nested.model.__name__}, whose field {missing[0]} is not a column of "
            f"{target.__tablename__}. An embedded model has only columns of its table."
        )
    for name in nested.model.model_fields:
        rule = _changing_rule(columns[name])
        if rule is not None:
            raise TypeError(
                f"{field} embeds {nested.model.__name__}, whose field {name} changes without its "
                f"version by {rule}. Remove the field or the rule."
            )
    if "version" not in columns:
        raise TypeError(
            f"{field} embeds {target.__name__}, which has no version, so that the ETag could not "
            f"change with it. Derive {target.__name__} from Entity."
        )


def require_foreign_key_join(field: str, relationship: Relationship) -> None:
    """Refuse a relationship of which only a part would become SQL."""
    joins = [relationship.primaryjoin]
    number_of_keys = len(relationship.synchronize_pairs)
    if relationship.secondaryjoin is not None:
        joins.append(relationship.secondaryjoin)
        number_of_keys += len(relationship.secondary_synchronize_pairs or [])
    conditions = [condition for join in joins for condition in _conditions(join)]
    if len(conditions) > number_of_keys or not all(map(_compares_columns, conditions)):
        raise TypeError(
            f"{field} embeds rows by a relationship with a condition that is not a foreign key. "
            f"Remove the condition from the relationship {relationship.key}."
        )
    if relationship.order_by:
        raise TypeError(
            f"{field} is sorted by primary key. Remove `order_by` from the relationship "
            f"{relationship.key}."
        )


def forbid_unversioned_changes(model: type[Base], read_model: type[BaseModel]) -> None:
    """Refuse a column that Postgres changes without a change of the version.

    Deleting a publisher sets the `publisher_id` of its books to NULL, but does not increment their
    versions. That is right only for a read model that also embeds the publisher.
    """
    relationships = sa.inspect(model).relationships
    embedded = {
        column
        for name in find_nested_models(read_model)
        for column in relationships[name].local_columns
    }
    for column in model.__table__.c:
        rule = _changing_rule(column)
        is_displayed = column in embedded or column.key in read_model.model_fields
        if rule is None or not is_displayed or "version" not in read_model.model_fields:
            continue
        # The new row may have the version of the old one.
        if column not in embedded or rule.endswith("SET DEFAULT"):
            raise TypeError(
                f"{column} changes without the version of {read_model.__name__} by {rule}. Embed "
                "the row that it refers to, or remove the rule; SET DEFAULT is never supported."
            )


def _conditions(join: Column) -> list[Column]:
    return list(join.clauses) if isinstance(join, sa.BooleanClauseList) else [join]


def _compares_columns(condition: Column) -> bool:
    return (
        isinstance(condition, sa.BinaryExpression)
        and condition.operator is operator.eq
        and isinstance(condition.left, sa.Column)
        and isinstance(condition.right, sa.Column)
    )


def _changing_rule(column: Column) -> str | None:
    """Return the rule by which Postgres changes a column when the row it refers to changes.

    For example `ON DELETE SET NULL`. Such a change does not increment the version of the row.
    """
    for key in column.foreign_keys:
        if key.ondelete is not None and key.ondelete.upper() in {"SET NULL", "SET DEFAULT"}:
            return f"ON DELETE {key.ondelete.upper()}"
        if key.onupdate is not None and key.onupdate.upper() not in {"NO ACTION", "RESTRICT"}:
            return f"ON UPDATE {key.onupdate.upper()}"
    return None


def require_supported_foreign_key(field: str, relationship: Relationship, nested: Nested) -> None:
    """Refuse a single row with a composite key, or one that may be missing but must not be None."""
    pairs = relationship.local_remote_pairs or []
    if len(pairs) > 1:
        raise TypeError(
            f"{field} embeds a row to which a foreign key of several columns refers. Refer to it "
            "by one column, because only these are supported."
        )
    [(foreign_key, _)] = pairs
    if foreign_key.nullable and not nested.is_optional:
        raise TypeError(
            f"{field} must allow None, because {foreign_key} is nullable: "
            f"`{relationship.key}: {nested.model.__name__} | None`."
        )
