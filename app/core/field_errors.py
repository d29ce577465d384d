"""Field errors: which values of a request are wrong, and what the client should send instead.

Every 422 response lists them. Pydantic finds most of them, and this module words its messages.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, get_args

from pydantic import BaseModel, BeforeValidator, Field
from pydantic_core import CoreSchema, core_schema
from pydantic_core.core_schema import ErrorType

MAX_FIELD_ERRORS: Final = 100  # in one response
_MAX_LENGTH: Final = 500  # characters
# The `type` of all errors of a schema of `with_error_message`. Their context has the error code.
_OWN_MESSAGE: Final = "own_message"

DATE_MESSAGE: Final = "Must be a date such as 2026-11-29"
DATE_TIME_MESSAGE: Final = "Must be a date and time with a time zone such as 2026-11-29T14:00:00Z"
_TIME_MESSAGE: Final = "Must be a time of day such as 14:00:00"
_DURATION_MESSAGE: Final = "Must be an ISO 8601 duration such as PT30M"
UUID_MESSAGE: Final = "Must be a UUID"
_URL_MESSAGE: Final = "Must be a URL such as https://example.com/"
# The code and the message for a body that is not an object.
NOT_AN_OBJECT_CODE: Final = "model_attributes_type"
OBJECT_MESSAGE: Final = "Must be a JSON object"
_ARRAY_MESSAGE: Final = "Must be an array"
_STRING_MESSAGE: Final = "Must be a string"
_INTEGER_MESSAGE: Final = "Must be an integer"
_NUMBER_MESSAGE: Final = "Must be a number"
BOOLEAN_MESSAGE: Final = "Must be true or false"
_FORMAT_MESSAGE: Final = "Must have the format that the API documentation describes"

# The message for each `type` of Pydantic's errors. Placeholders are keys of the error's context.
_MESSAGES_BY_ERROR_TYPE: Final = {
    "missing": "Required",
    "extra_forbidden": "Unknown field",
    "none_required": "Must be null",
    "literal_error": "Must be {expected}",
    "enum": "Must be {expected}",
    "union_tag_not_found": "Must have the field {discriminator}",
    "union_tag_invalid": "The field {discriminator} must be one of {expected_tags}",
    "json_type": _STRING_MESSAGE,
    "json_invalid": "Must be the text of a JSON document",
    # Objects and arrays
    "model_type": OBJECT_MESSAGE,
    NOT_AN_OBJECT_CODE: OBJECT_MESSAGE,
    "dataclass_type": OBJECT_MESSAGE,
    "dict_type": OBJECT_MESSAGE,
    "mapping_type": OBJECT_MESSAGE,
    "list_type": _ARRAY_MESSAGE,
    "tuple_type": _ARRAY_MESSAGE,
    "set_type": _ARRAY_MESSAGE,
    "frozen_set_type": _ARRAY_MESSAGE,
    "iterable_type": _ARRAY_MESSAGE,
    # Strings
    "string_type": _STRING_MESSAGE,
    "string_unicode": "Must be valid Unicode text",
    "string_not_ascii": "Must contain only ASCII characters",
    "string_pattern_mismatch": _FORMAT_MESSAGE,
    "bytes_type": _STRING_MESSAGE,
    "bytes_invalid_encoding": _FORMAT_MESSAGE,
    "uuid_type": UUID_MESSAGE,
    "uuid_parsing": UUID_MESSAGE,
    "uuid_version": "Must be a UUID of version {expected_version}",
    "url_type": _URL_MESSAGE,
    "url_parsing": _URL_MESSAGE,
    "url_syntax_violation": _URL_MESSAGE,
    "url_scheme": "Must be a URL that begins with {expected_schemes}",
    # Numbers
    "bool_type": BOOLEAN_MESSAGE,
    "bool_parsing": BOOLEAN_MESSAGE,
    "int_type": _INTEGER_MESSAGE,
    "int_parsing": _INTEGER_MESSAGE,
    "int_from_float": _INTEGER_MESSAGE,
    "int_parsing_size": "Must be an integer with fewer digits",
    "float_type": _NUMBER_MESSAGE,
    "float_parsing": _NUMBER_MESSAGE,
    "finite_number": "Must be a finite number",
    "decimal_type": _NUMBER_MESSAGE,
    "decimal_parsing": _NUMBER_MESSAGE,
    "multiple_of": "Must be a multiple of {multiple_of}",
    # Dates and times
    "date_type": DATE_MESSAGE,
    "date_parsing": DATE_MESSAGE,
    "date_from_datetime_parsing": "Must be a day that exists, such as 2026-11-29",
    "date_from_datetime_inexact": DATE_MESSAGE,
    "date_past": "Must be in the past",
    "date_future": "Must be in the future",
    "datetime_type": DATE_TIME_MESSAGE,
    "datetime_parsing": DATE_TIME_MESSAGE,
    "datetime_object_invalid": DATE_TIME_MESSAGE,
    "datetime_from_date_parsing": DATE_TIME_MESSAGE,
    "datetime_past": "Must be in the past",
    "datetime_future": "Must be in the future",
    "timezone_aware": DATE_TIME_MESSAGE,
    "timezone_naive": "Must have no time zone, such as 2026-11-29T14:00:00",
    "timezone_offset": "Must have the UTC offset {tz_expected}",
    "time_type": _TIME_MESSAGE,
    "time_parsing": _TIME_MESSAGE,
    "time_delta_type": _DURATION_MESSAGE,
    "time_delta_parsing": _DURATION_MESSAGE,
}
# The comparison, the key of the limit in the error's context, and the unit of the limit, from which
# `_describe_length` builds a message such as "Must have at most 100 characters".
_LENGTH_ERRORS: Final = {
    "string_too_short": ("at least", "min_length", "character"),
    "string_too_long": ("at most", "max_length", "character"),
    "bytes_too_short": ("at least", "min_length", "byte"),
    "bytes_too_long": ("at most", "max_length", "byte"),
    "url_too_long": ("at most", "max_length", "character"),
    "too_short": ("at least", "min_length", "item"),
    "too_long": ("at most", "max_length", "item"),
    "decimal_max_digits": ("at most", "max_digits", "digit"),
    "decimal_max_places": ("at most", "decimal_places", "decimal place"),
    "decimal_whole_digits": ("at most", "whole_digits", "integer digit"),
}
# The messages for a value that is too small or too large: for a number, and for a date or time.
_RANGE_MESSAGES: Final = {
    "greater_than": ("Must be greater than {gt}", "Must be after {gt}"),
    "greater_than_equal": ("Must be at least {ge}", "Must be {ge} or later"),
    "less_than": ("Must be less than {lt}", "Must be before {lt}"),
    "less_than_equal": ("Must be at most {le}", "Must be {le} or earlier"),
}
# All types of Pydantic's own errors, whose messages are written for Python programmers.
_PYDANTIC_ERROR_TYPES: Final = {*get_args(ErrorType)} - {"value_error"}


def _truncate(text: str) -> str:
    """Shorten a text that contains the name of a field, because clients may send long names."""
    return text[:_MAX_LENGTH]


# Returns the message for a wrong value, which must not quote the value.
DescribeValue = Callable[[object], str]
_ShortText = Annotated[str, BeforeValidator(_truncate), Field(max_length=_MAX_LENGTH)]


class FieldError(BaseModel):
    """A wrong value of the request. Exactly one of pointer, parameter and header locates it."""

    detail: Annotated[
        _ShortText, Field(description="What is wrong, or what to send instead, for people")
    ]
    code: str = Field(max_length=100, description="The kind of error, stable, for programs")
    pointer: _ShortText | None = Field(None, description="JSON pointer to the value in the body")
    parameter: _ShortText | None = Field(None, description="Name of a path or query parameter")
    header: _ShortText | None = Field(None, description="Name of a request header")


def json_pointer(*path: object) -> str:
    """Return the JSON pointer (RFC 6901) to a value in a JSON body.

    For example, `json_pointer("items", 17, "title")` returns `/items/17/title`.
    """
    escaped_names = [str(name).replace("~", "~0").replace("/", "~1") for name in path]
    return "".join(f"/{name}" for name in escaped_names)


def with_error_message(
    schema: CoreSchema, code: str, message: str, describe: DescribeValue | None = None
) -> CoreSchema:
    """Return a Pydantic schema that accepts the same values, but has its own error message.

    Pydantic does not allow another message for its own error types, such as `string_too_long`. All
    errors of the returned schema therefore have the type `_OWN_MESSAGE`.

    Args:
        schema: The schema that validates the value.
        code: The code of the field error, for programs. `validation_error_code` returns it.
        message: The message for the client, for example "Must be a UUID".
        describe: A function that returns a more specific message for a wrong value.
    """
    return core_schema.custom_error_schema(
        schema,
        custom_error_type=_OWN_MESSAGE,
        custom_error_message=message,
        custom_error_context={"code": code, "describe": describe},
    )


def validation_error_code(error: Mapping[str, Any]) -> str:
    """Return the code by which a client's program can recognize a validation error.

    For example `string_too_long`. `error` is an item of Pydantic's `ValidationError.errors()`.
    """
    if error["type"] == _OWN_MESSAGE:
        return str(error["ctx"]["code"])
    return str(error["type"])


def validation_error_message(error: Mapping[str, Any]) -> str:
    """Return a message that tells the client what to send instead of a wrong value.

    For example "Must have at most 200 characters". The message does not quote the wrong value,
    which may be confidential. `error` is an item of Pydantic's `ValidationError.errors()`.
    """
    error_type = error["type"]
    # The parameters of the message, for example `{"max_length": 200}`.
    error_context = error.get("ctx", {})
    describe_value: DescribeValue | None = error_context.get("describe")
    # A caller of Pydantic may have left the value out of the error.
    if describe_value is not None and "input" in error:
        return describe_value(error["input"])
    if error_type in _MESSAGES_BY_ERROR_TYPE:
        return _MESSAGES_BY_ERROR_TYPE[error_type].format_map(error_context)
    if error_type in _LENGTH_ERRORS:
        return _describe_length(error_type, error_context)
    if error_type in _RANGE_MESSAGES:
        return _describe_range(error_type, error_context)
    if error_type in _PYDANTIC_ERROR_TYPES:
        return _FORMAT_MESSAGE
    # A validator of this project has raised the error, so its message is written for clients.
    # Pydantic puts a prefix before the message of a `ValueError`.
    return str(error["msg"]).removeprefix("Value error, ")


def _describe_length(error_type: str, error_context: Mapping[str, Any]) -> str:
    """Return the message for a string, list or number that is too short or too long.

    For example, `_describe_length("string_too_short", {"min_length": 1})` returns "Must have at
    least 1 character". The arguments are the type and the context of a Pydantic error.
    """
    comparison, limit_key, unit = _LENGTH_ERRORS[error_type]
    limit = error_context[limit_key]
    # Pydantic calls a `SecretStr` a "Value", and counts its characters as items.
    if error_context.get("field_type") == "Value":
        unit = "character"
    plural_ending = "" if limit == 1 else "s"
    return f"Must have {comparison} {limit} {unit}{plural_ending}"


def _describe_range(error_type: str, error_context: Mapping[str, Any]) -> str:
    """Return the message for a number, date or time that is too small or too large.

    For example, `_describe_range("less_than_equal", {"le": 100})` returns "Must be at most 100".
    The arguments are the type and the context of a Pydantic error.
    """
    number_message, date_message = _RANGE_MESSAGES[error_type]
    # The context contains the limit. Pydantic reports the limit of a date or time as a string.
    is_date_or_time = any(isinstance(limit, str) for limit in error_context.values())
    if is_date_or_time:
        return date_message.format_map(error_context)
    return number_message.format_map(error_context)
