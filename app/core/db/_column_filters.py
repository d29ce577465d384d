"""The conditions of filters that compare a column with a bound or with NULL.

`core/column_filters.py` defines the names of these filters, and the types of their parameters.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from app.core.column_filters import IS_NOT_NULL_SUFFIX, IS_NULL_SUFFIX

Condition = sa.ColumnElement[bool]


def column_filters(
    table: sa.Table, sort_nulls_as: Mapping[str, sa.ColumnElement[Any]]
) -> dict[str, Condition]:
    """Return the conditions of all filters by a bound of a column or by NULL, by their names.

    The filters of the columns `dob` and `created_at` are:

        dob_from           coalesce(dob, 'infinity') >= :dob_from
                           AND coalesce(dob, 'infinity') < 'infinity'
        dob_to             coalesce(dob, 'infinity') < :dob_to
        dob_is_null        coalesce(dob, 'infinity') >= 'infinity'
        dob_is_not_null    coalesce(dob, 'infinity') < 'infinity'
        created_from       created_at >= :created_from
        created_to         created_at < :created_to

    A query model that has a field of one of these names offers the filter to clients.

    Args:
        table: The table with the columns.
        sort_nulls_as: The value that replaces NULL in the index of a column, such as 'infinity'. It
            is greater than every value of the column. The conditions use the expression of the
            index, so that Postgres can find the first row of a sorted list in it.
    """
    filters: dict[str, Condition] = {}
    for column in table.columns:
        greatest_value = sort_nulls_as.get(column.name)
        filters |= _null_filters(column, greatest_value)
        if isinstance(column.type, sa.Date | sa.DateTime):
            filters |= _range_filters(column, greatest_value)
    return filters


def _null_filters(
    column: sa.Column[Any], greatest_value: sa.ColumnElement[Any] | None
) -> dict[str, Condition]:
    """Return the conditions that a column is NULL, and that it is not."""
    if not column.nullable:
        return {}
    is_null: Condition = column.is_(None)
    if greatest_value is not None:
        # With `=`, the column would be constant, and Postgres would sort by the id and filter.
        is_null = sa.func.coalesce(column, greatest_value) >= greatest_value
    is_not_null = sa.and_(*_not_null_conditions(column, greatest_value))
    return {
        f"{column.name}{IS_NULL_SUFFIX}": is_null,
        f"{column.name}{IS_NOT_NULL_SUFFIX}": is_not_null,
    }


def _range_filters(
    column: sa.Column[Any], greatest_value: sa.ColumnElement[Any] | None
) -> dict[str, Condition]:
    """Return the conditions of a lower bound, which is included, and of an excluded upper bound."""
    filter_name = column.name.removesuffix("_at")
    lower_bound = sa.bindparam(f"{filter_name}_from", type_=column.type)
    upper_bound = sa.bindparam(f"{filter_name}_to", type_=column.type)
    value: sa.ColumnElement[Any] = column
    if greatest_value is not None:
        value = sa.func.coalesce(column, greatest_value)
    has_value = list(_not_null_conditions(column, greatest_value))
    return {
        f"{filter_name}_from": sa.and_(value >= lower_bound, *has_value),
        f"{filter_name}_to": value < upper_bound,
    }


def _not_null_conditions(
    column: sa.Column[Any], greatest_value: sa.ColumnElement[Any] | None
) -> Iterator[Condition]:
    """Yield the condition that a column is not NULL, if it may be.

    A comparison with `greatest_value` also tells Postgres where a descending scan of the index has
    to start: after all rows with NULL.
    """
    if greatest_value is not None:
        yield sa.func.coalesce(column, greatest_value) < greatest_value
    elif column.nullable:
        yield column.is_not(None)
