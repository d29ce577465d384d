"""Checks that the declarations of a read model and its mapped class fit together.

The application runs the checks when it starts. Each raises `TypeError` with a message that names
the field and says how to change the declaration.

Parameters called `field` are the name of a read model's field in messages, for example
`BookRead.author`. `relationship` is the relationship of the same name, and `embedded` is the model
of the embedded rows, for example `BookAuthor`.
"""

import operator
from typing import Any, Final

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import RelationshipProperty

from app.core.db._models import Base
from app.core.nested_models import NestedModel, find_nested_models

Column = sa.ColumnElement[Any]
Relationship = RelationshipProperty[Any]
# SQLAlchemy converts the values of columns of these types when it reads rows. It does not convert
# values inside of JSON.
_CONVERTED_TYPES: Final = (sa.types.TypeDecorator, sa.LargeBinary, sa.Interval)


def require_creation_from_field_names(model: type[BaseModel]) -> None:
    """Raise `TypeError` if a model can only be created from the aliases of its fields.

    Repositories create models from database rows, which have the names of the fields.
    """
    config = model.model_config
    if config.get("populate_by_name") or config.get("validate_by_name"):
        return
    for name, field in model.model_fields.items():
        if field.validation_alias is not None:
            raise TypeError(
                f"{model.__name__}.{name} has an alias, but database rows have the names of fields."
                " Use a `serialization_alias`, or set `validate_by_name` in `model_config`."
            )


def require_same_values_in_json(
    field: str, relationship: Relationship, embedded: NestedModel
) -> None:
    """Raise `TypeError` if a column of an embedded list has other values in JSON than in a row.

    Postgres returns an embedded list as one JSON array, in which SQLAlchemy does not convert
    values. For example, a column of bytes would become the text `\\x00ff`.
    """
    columns = relationship.mapper.local_table.c
    for name in embedded.model.model_fields:
        column_type = columns[name].type
        if isinstance(column_type, sa.Enum):
            is_converted = not _stores_values_of_enum(column_type)
        else:
            is_converted = isinstance(column_type, _CONVERTED_TYPES)
        if is_converted:
            raise TypeError(
                f"{field} embeds a list of {embedded.model.__name__}, whose field {name} has the "
                f"type {column_type!r}. Values of this type are not supported in lists. Store text "
                "or numbers (an Enum with `values_callable`), or remove the field."
            )


def _stores_values_of_enum(enum_type: sa.Enum) -> bool:
    """Return whether a column stores the values of an Enum's members, and not their names.

    SQLAlchemy stores the names unless `values_callable` is set.
    """
    members = enum_type.enum_class or ()
    return all(str(member.value) in enum_type.enums for member in members)


def require_fields_are_columns(
    field: str, relationship: Relationship, embedded: NestedModel
) -> None:
    """Raise `TypeError` if a field of an embedded model is not a column of the embedded table."""
    target = relationship.mapper.class_
    columns = relationship.mapper.local_table.c
    for name in embedded.model.model_fields:
        if name not in columns:
            raise TypeError(
                f"{field} embeds {embedded.model.__name__}, whose field {name} is not a column of "
                f"{target.__tablename__}. An embedded model can have only fields that are columns."
            )


def require_version_of_embedded_rows(
    field: str, relationship: Relationship, embedded: NestedModel
) -> None:
    """Raise `TypeError` if an embedded row can change while its version stays the same.

    The ETag of a book that embeds its author is made of both versions. It would be stale if the
    author had no version, or if Postgres could change a displayed column without incrementing it.
    """
    target = relationship.mapper.class_
    columns = relationship.mapper.local_table.c
    for name in embedded.model.model_fields:
        rule = _find_referential_action(columns[name])
        if rule is not None:
            raise TypeError(
                f"{field} embeds {embedded.model.__name__}, but {rule} can change its field {name} "
                "without incrementing the version. Remove the field or the rule."
            )
    if "version" not in columns:
        raise TypeError(
            f"{field} embeds {target.__name__}, which has no version, so the ETag would not change "
            f"when the embedded row does. Derive {target.__name__} from Entity."
        )


def require_foreign_key_join(field: str, relationship: Relationship) -> None:
    """Raise `TypeError` if a relationship is more than a comparison of foreign keys.

    The join of an embedded row contains only the foreign keys. It would ignore another condition,
    such as `Room.name != "closed"`, and an `order_by`.
    """
    joins = [relationship.primaryjoin]
    number_of_keys = len(relationship.synchronize_pairs)
    if relationship.secondaryjoin is not None:
        joins.append(relationship.secondaryjoin)
        number_of_keys += len(relationship.secondary_synchronize_pairs or [])
    conditions = [condition for join in joins for condition in _split_conjunction(join)]
    compares_only_columns = all(_compares_two_columns(condition) for condition in conditions)
    if len(conditions) > number_of_keys or not compares_only_columns:
        raise TypeError(
            f"{field} embeds rows by a relationship with a condition that is not a foreign key. "
            f"Remove the condition from the relationship {relationship.key}."
        )
    if relationship.order_by:
        raise TypeError(
            f"{field} is always sorted by primary key. Remove `order_by` from the relationship "
            f"{relationship.key}."
        )


def _split_conjunction(condition: Column) -> list[Column]:
    """Return the conditions that AND combines, or a list of the condition itself."""
    if isinstance(condition, sa.BooleanClauseList):
        return list(condition.clauses)
    return [condition]


def _compares_two_columns(condition: Column) -> bool:
    """Return whether a condition has the form `a.x = b.y`."""
    return (
        isinstance(condition, sa.BinaryExpression)
        and condition.operator is operator.eq
        and isinstance(condition.left, sa.Column)
        and isinstance(condition.right, sa.Column)
    )


def forbid_unversioned_changes(model: type[Base], read_model: type[BaseModel]) -> None:
    """Raise `TypeError` if Postgres can change a displayed column without changing the version.

    For example, when a publisher is deleted, `ON DELETE SET NULL` changes `publisher_id` of its
    books, but does not increment their versions. This is allowed only if the read model embeds the
    publisher, whose version is a part of the book's version then.
    """
    if "version" not in read_model.model_fields:
        return
    relationships = sa.inspect(model).relationships
    embedded_keys: set[Column] = set()
    for name in find_nested_models(read_model):
        embedded_keys |= relationships[name].local_columns
    for column in model.__table__.c:
        rule = _find_referential_action(column)
        is_embedded_key = column in embedded_keys
        is_displayed = is_embedded_key or column.key in read_model.model_fields
        if rule is None or not is_displayed:
            continue
        # After SET DEFAULT, the newly embedded row may have the same version as the old one.
        if not is_embedded_key or rule.endswith("SET DEFAULT"):
            raise TypeError(
                f"{rule} can change {column} without changing the version of "
                f"{read_model.__name__}. Embed the row that the column refers to, or remove the "
                "rule. SET DEFAULT is never supported."
            )


def _find_referential_action(column: Column) -> str | None:
    """Return the rule by which Postgres may change a foreign key, for example `ON DELETE SET NULL`.

    Returns None if the column is not a foreign key, or has no such rule.
    """
    for key in column.foreign_keys:
        on_delete = (key.ondelete or "NO ACTION").upper()
        if on_delete in {"SET NULL", "SET DEFAULT"}:
            return f"ON DELETE {on_delete}"
        on_update = (key.onupdate or "NO ACTION").upper()
        if on_update not in {"NO ACTION", "RESTRICT"}:
            return f"ON UPDATE {on_update}"
    return None


def require_supported_foreign_key(
    field: str, relationship: Relationship, embedded: NestedModel
) -> None:
    """Raise `TypeError` if the foreign key of an embedded row is not supported.

    It has to be a single column. If it is nullable, the field has to allow None.
    """
    pairs = relationship.local_remote_pairs or []
    if len(pairs) > 1:
        raise TypeError(
            f"{field} embeds a row to which a foreign key of several columns refers. Only foreign "
            "keys of one column are supported."
        )
    [(foreign_key, _)] = pairs
    if foreign_key.nullable and not embedded.is_optional:
        raise TypeError(
            f"{field} must allow None, because {foreign_key} is nullable: "
            f"`{relationship.key}: {embedded.model.__name__} | None`."
        )
