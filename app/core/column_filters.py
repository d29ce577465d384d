"""The names of query parameters that restrict a list by the value of a column, such as `dob`.

A field of a query model with one of these names becomes a filter. `Statements` knows the condition:

    dob_from: Date | None       Rows whose date or time is this one or later.
    dob_to: Date | None         Rows whose date or time is before this one.
    dob_is_null: Flag | None    Rows without a value (true), or with one (false). A query model may
                                have the opposite instead: `dob_is_not_null`.

The name of a time begins with that of its column without `_at`, as `created_from` does.
"""

from typing import Final

IS_NULL_SUFFIX: Final = "_is_null"
IS_NOT_NULL_SUFFIX: Final = "_is_not_null"


def choose_condition_name(filter_name: str, value: object) -> str:
    """Return the name of the condition of a filter, which depends on the value of a flag.

    `dob_is_null=false` has the condition `dob_is_not_null`, so that Postgres plans the statements
    of the two values separately. Other filters have one condition, with the name of the filter.
    """
    if filter_name.endswith(IS_NULL_SUFFIX) and value is False:
        return filter_name.removesuffix(IS_NULL_SUFFIX) + IS_NOT_NULL_SUFFIX
    if filter_name.endswith(IS_NOT_NULL_SUFFIX) and value is False:
        return filter_name.removesuffix(IS_NOT_NULL_SUFFIX) + IS_NULL_SUFFIX
    return filter_name
