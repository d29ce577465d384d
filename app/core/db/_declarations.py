"""Checks that the declarations of a read model and its mapped class fit together.

The application runs the checks when it starts. Each raises `TypeError` with a message that names
the field and says how to change the declaration.

A field of a read model embeds rows of another table if it contains a model, as `BookRead.author`
contains a `BookAuthor`. The functions that check such fields have these parameters in common:

- `qualified_name` is the name of the field in the message, for example `BookRead.author`.
- `relationship` is the relationship of the mapped class with the same name, `Book.author`.
- `nested_model` is the type of the field, for example an optional `BookAuthor`.
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


def forbid_validation_aliases(model: type[BaseModel]) -> None:
    """Raise `TypeError` if Pydantic expects an alias instead of the name of a field.

    Repositories create the model from a database row such as `{"first_name": "Octavia"}`. If the
    field has the alias `firstName`, Pydantic looks for this key instead and ignores `first_name`,
    unless the model sets `validate_by_name`.
    """
    model_config = model.model_config
    if model_config.get("populate_by_name") or model_config.get("validate_by_name"):
        return
    for field_name, field in model.model_fields.items():
        if field.validation_alias is not None:
            raise TypeError(
                f"{model.__name__}.{field_name} has an alias, but database rows have the names of "
                "fields. Use a `serialization_alias`, or set `validate_by_name` in `model_config`."
            )


def forbid_converted_types_in_list(
    qualified_name: str, relationship: Relationship, nested_model: NestedModel
) -> None:
    """Raise `TypeError` if an embedded list contains a column whose values SQLAlchemy converts.

    Postgres returns an embedded list, such as the tags of a book, as one JSON array. SQLAlchemy
    does not convert the values in it, so a client would receive a column of bytes as the text
    `\\x00ff`.
    """
    columns = relationship.mapper.local_table.c
    embedded_model = nested_model.model
    for column_name in embedded_model.model_fields:
        column_type = columns[column_name].type
        if isinstance(column_type, sa.Enum):
            is_converted = not _stores_enum_values(column_type)
        else:
            is_converted = isinstance(column_type, _CONVERTED_TYPES)
        if is_converted:
            raise TypeError(
                f"{qualified_name} embeds a list of {embedded_model.__name__}, whose field "
                f"{column_name} has the type {column_type!r}. Values of this type are not supported"
                " in lists. Store text or numbers (an Enum with `values_callable`), or remove the "
                "field."
            )


def _stores_enum_values(enum_type: sa.Enum) -> bool:
    """Return whether a column stores the values of Enum members rather than their names.

    SQLAlchemy stores the member `Role.ADMIN = "admin"` by its name, "ADMIN", unless the argument
    `values_callable` of the column type makes it store the value, "admin".
    """
    # A type such as `sa.Enum("admin", "member")` has no Enum class. It stores its texts.
    members = enum_type.enum_class or ()
    return all(str(member.value) in enum_type.enums for member in members)


def require_columns_for_fields(
    qualified_name: str, relationship: Relationship, nested_model: NestedModel
) -> None:
    """Raise `TypeError` if a field of an embedded model is not a column of the embedded table.

    If `BookRead.author` contains a `BookAuthor`, its fields must be columns of `authors`.
    """
    embedded_table = relationship.mapper.class_.__tablename__
    columns = relationship.mapper.local_table.c
    for column_name in nested_model.model.model_fields:
        if column_name not in columns:
            raise TypeError(
                f"{qualified_name} embeds {nested_model.model.__name__}, whose field {column_name} "
                f"is not a column of {embedded_table}. An embedded model can have only fields that "
                "are columns."
            )


def require_version_of_embedded_rows(
    qualified_name: str, relationship: Relationship, nested_model: NestedModel
) -> None:
    """Raise `TypeError` if an embedded row can change without a change of its version.

    The ETag of a book combines the versions of the book and of the author that it embeds, so every
    change of the author has to increment the author's version. Two declarations prevent that:

    - The author's table has no column `version`.
    - A displayed column of the author is a foreign key with a rule such as ON DELETE SET NULL, by
      which Postgres changes the column without incrementing the version.
    """
    embedded_class = relationship.mapper.class_
    columns = relationship.mapper.local_table.c
    for column_name in nested_model.model.model_fields:
        rule = _find_referential_action(columns[column_name])
        if rule is not None:
            raise TypeError(
                f"{qualified_name} embeds {nested_model.model.__name__}, but {rule} can change its "
                f"field {column_name} without incrementing the version. Remove the field or the "
                "rule."
            )
    if "version" not in columns:
        raise TypeError(
            f"{qualified_name} embeds {embedded_class.__name__}, which has no version, so the ETag "
            "would not change when the embedded row does. "
            f"Derive {embedded_class.__name__} from Entity."
        )


def require_foreign_key_join(qualified_name: str, relationship: Relationship) -> None:
    """Raise `TypeError` if a relationship has a sort order, or a condition besides foreign keys.

    Repositories join embedded rows only by foreign keys, such as `authors.id = books.author_id`,
    and sort them by primary key. They would ignore another condition of the relationship, such as
    `authors.name != 'unknown'`, and another sort order.
    """
    join_conditions = _split_conjunction(relationship.primaryjoin)
    # Each foreign key column needs one condition, which compares it with the referred column.
    number_of_key_columns = len(relationship.synchronize_pairs)
    if relationship.secondaryjoin is not None:
        # A many-to-many relationship joins a link table, and then the embedded table.
        join_conditions += _split_conjunction(relationship.secondaryjoin)
        number_of_key_columns += len(relationship.secondary_synchronize_pairs or [])
    compares_only_columns = all(_compares_two_columns(condition) for condition in join_conditions)
    if len(join_conditions) > number_of_key_columns or not compares_only_columns:
        raise TypeError(
            f"{qualified_name} embeds rows by a relationship with a condition that is not a "
            f"foreign key. Remove the condition from the relationship {relationship.key}."
        )
    if relationship.order_by:
        raise TypeError(
            f"{qualified_name} is always sorted by primary key. Remove `order_by` from the "
            f"relationship {relationship.key}."
        )


def _split_conjunction(condition: Column) -> list[Column]:
    """Return `[a, b]` for the condition `a AND b`, and `[a]` for any other condition `a`."""
    if isinstance(condition, sa.BooleanClauseList):
        return list(condition.clauses)
    return [condition]


def _compares_two_columns(condition: Column) -> bool:
    """Return whether a condition has a form such as `authors.id = books.author_id`."""
    return (
        isinstance(condition, sa.BinaryExpression)
        and condition.operator is operator.eq
        and isinstance(condition.left, sa.Column)
        and isinstance(condition.right, sa.Column)
    )


def forbid_unversioned_changes(model: type[Base], read_model: type[BaseModel]) -> None:
    """Raise `TypeError` if Postgres can change a displayed column without changing the version.

    When a publisher is deleted, for example, `ON DELETE SET NULL` changes the column `publisher_id`
    of its books without incrementing their versions. Their ETags would then be wrong.

    The rule is allowed if the read model embeds the publisher, because the version of a book then
    also contains the version of its publisher, and changes when the publisher is deleted.
    """
    if "version" not in read_model.model_fields:
        return
    relationships = sa.inspect(model).relationships
    # The columns that refer to embedded rows, for example `books.publisher_id`.
    embedding_columns: set[Column] = set()
    for field_name in find_nested_models(read_model):
        embedding_columns |= relationships[field_name].local_columns
    for column in model.__table__.c:
        rule = _find_referential_action(column)
        embeds_row = column in embedding_columns
        is_displayed = embeds_row or column.key in read_model.model_fields
        if rule is None or not is_displayed:
            continue
        # SET DEFAULT replaces the embedded row by another row, which may have the same version.
        embedded_version_changes = embeds_row and not rule.endswith("SET DEFAULT")
        if not embedded_version_changes:
            raise TypeError(
                f"{rule} can change {column} without changing the version of "
                f"{read_model.__name__}. Embed the row that the column refers to, or remove the "
                "rule. SET DEFAULT is never supported."
            )


def _find_referential_action(column: Column) -> str | None:
    """Return the rule by which Postgres changes a foreign key, for example `ON DELETE SET NULL`.

    Postgres applies it when the referred row is deleted or gets another key. Returns None if the
    column is not a foreign key, or if Postgres never changes its value by itself.
    """
    for foreign_key in column.foreign_keys:
        on_delete = (foreign_key.ondelete or "NO ACTION").upper()
        if on_delete in {"SET NULL", "SET DEFAULT"}:
            return f"ON DELETE {on_delete}"
        on_update = (foreign_key.onupdate or "NO ACTION").upper()
        if on_update not in {"NO ACTION", "RESTRICT"}:
            return f"ON UPDATE {on_update}"
    return None


def require_supported_foreign_key(
    qualified_name: str, relationship: Relationship, nested_model: NestedModel
) -> None:
    """Raise `TypeError` if the foreign key to an embedded row has an unsupported form.

    It has to be a single column, such as `books.author_id`. If the column is nullable, a book may
    have no author, so the field has to allow None.
    """
    column_pairs = relationship.local_remote_pairs or []
    if len(column_pairs) > 1:
        raise TypeError(
            f"{qualified_name} embeds a row to which a foreign key of several columns refers. Only "
            "foreign keys of one column are supported."
        )
    [(foreign_key_column, _)] = column_pairs
    if foreign_key_column.nullable and not nested_model.is_optional:
        raise TypeError(
            f"{qualified_name} must allow None, because {foreign_key_column} is nullable: "
            f"`{relationship.key}: {nested_model.model.__name__} | None`."
        )
