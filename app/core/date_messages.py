"""Messages for values that are not dates in the format 2026-11-29, with advice for common cases."""

import re
from typing import Final

from app.core.field_errors import DATE_MESSAGE

# Longer texts are not compared with the formats below.
_MAX_LENGTH: Final = 40  # characters
_TYPE_MESSAGE: Final = "Must be a string with a complete date such as 2026-11-29"
_INCOMPLETE_MESSAGE: Final = (
    "Must be a complete date such as 2026-11-29. If the day or the month is unknown, leave the date"
    " out"
)
# The first format that matches the whole text determines the message.
_MESSAGES_BY_FORMAT: Final = [
    (re.compile(pattern, re.ASCII | re.IGNORECASE), message)
    for pattern, message in (
        (r"", "Must not be empty. If the date is unknown, leave it out"),
        (r"\s.*|.*\s", "Must be a date such as 2026-11-29, without blanks around it"),
        (r"\d{4}-\d{2}-\d{2}[t ].*", "Must be a date such as 2026-11-29, without a time of day"),
        (
            r"\d{4}-\d{1,2}-\d{1,2}",
            "Must have two digits for the month and the day, such as 2026-01-09",
        ),
        (r"\d{8}", "Must have hyphens, such as 2026-11-29"),
        (
            r"-\d.*|\+?\d{5,}-\d+-\d+|.*\bbce?\b.*",
            "Must be a date in the years 1 to 9999, such as 2026-11-29",
        ),
        # A year or a month, also if it is approximate: 1926, 1926-05, c. 1926, 1926?, 192X, 1920s,
        # 1926/1927. EDTF has such forms, and so have catalogs of libraries.
        (r"\d{4}[-/.]\d{1,2}|\d{1,2}[-/.]\d{4}", _INCOMPLETE_MESSAGE),
        (r"[a-z. ~\[]*\d{1,4}[x~?%s\]]*([-/]\d{4}[~?]?)?", _INCOMPLETE_MESSAGE),
        (
            r"\d{1,4}[-/.]\s?\d{1,2}[-/.]\s?\d{1,4}",
            "Must be the year, the month and the day with hyphens, such as 2026-11-29",
        ),
    )
]


def describe_wrong_date(value: object) -> str:
    """Return the message for a value that does not have the format of a date.

    For example "Must have hyphens, such as 2026-11-29" for "20261129". The message does not contain
    the value.
    """
    if not isinstance(value, str):
        return _TYPE_MESSAGE
    if len(value) > _MAX_LENGTH:
        return DATE_MESSAGE
    for date_format, message in _MESSAGES_BY_FORMAT:
        if date_format.fullmatch(value):
            return message
    return DATE_MESSAGE
