"""The type of points in time that clients send: the format of RFC 3339, converted to UTC."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from pydantic import ValidatorFunctionWrapHandler
from pydantic_core import core_schema

from app.core.field_errors import DATE_TIME_MESSAGE, with_error_message
from app.core.patterns import CanonicalText

_DATE_TIME: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}"
# The position of the seconds in a time such as 2016-12-31T23:59:60Z.
_SECONDS: Final = slice(17, 19)
# A space in place of the sign is matched here, so that it gets its own error message.
_UTC_OFFSET: Final = "[Zz]|[+ -][0-9]{2}:[0-9]{2}"
_PLUS_MESSAGE: Final = (
    "Must be a date and time such as 2026-11-29T14:00:00+02:00. In a URL, + means a space, so write"
    " %2B instead"
)


def _parse_instant(text: str, parse: ValidatorFunctionWrapHandler) -> datetime:
    """Convert a time to UTC. `parse` is the parser of Pydantic, which drops nanoseconds.

    The leap second `2016-12-31T23:59:60Z` becomes 2017-01-01 00:00:00, as in Postgres, because
    Python cannot represent it. Raises `ValueError` if another minute has a second 60, or if the
    year in UTC is not between 1 and 9999.
    """
    is_leap_second = text[_SECONDS] == "60"
    if is_leap_second:
        text = f"{text[: _SECONDS.start]}59{text[_SECONDS.stop :]}"
    time: datetime = parse(text)
    try:
        time = time.astimezone(UTC)
        if not is_leap_second:
            return time
        if (time.hour, time.minute) != (23, 59):
            raise ValueError("Must have a second below 60, except in the last minute of a UTC day")
        return time + timedelta(seconds=1)
    except OverflowError:
        raise ValueError("Must be between the years 1 and 9999 in UTC") from None


_value_schema: Final = core_schema.chain_schema(
    [
        with_error_message(
            core_schema.str_schema(pattern="^[^ ]*$"), "unescaped_plus", _PLUS_MESSAGE
        ),
        core_schema.no_info_wrap_validator_function(
            _parse_instant, core_schema.datetime_schema(tz_constraint="aware")
        ),
    ]
)
# A time with a UTC offset, for example `2026-05-04T12:00:00Z`. Fractions of a second may have any
# number of digits. Those after the sixth are dropped, because Postgres stores microseconds.
Instant = Annotated[
    datetime,
    CanonicalText(
        rf"{_DATE_TIME}(\.[0-9]+)?({_UTC_OFFSET})",
        DATE_TIME_MESSAGE,
        _value_schema,
        {"type": "string", "format": "date-time"},
    ),
]
