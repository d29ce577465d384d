"""Field errors: which values of a request are wrong. Every 422 response lists them."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, Field

MAX_FIELD_ERRORS: Final = 100  # in one response
_MAX_LENGTH: Final = 500  # characters


def _truncate(text: str) -> str:
    """Shorten a text that may contain a field name, which a client can make arbitrarily long."""
    return text[:_MAX_LENGTH]


_ShortText = Annotated[str, BeforeValidator(_truncate), Field(max_length=_MAX_LENGTH)]


class FieldError(BaseModel):
    """One value that is wrong. Exactly one of pointer, parameter and header is present."""

    detail: Annotated[_ShortText, Field(description="What to send instead, for people")]
    code: str = Field(max_length=100, description="The kind of error, stable, for programs")
    pointer: _ShortText | None = Field(None, description="JSON pointer to the value in the body")
    parameter: _ShortText | None = Field(None, description="Name of a path or query parameter")
    header: _ShortText | None = Field(None, description="Name of a request header")


def json_pointer(*path: object) -> str:
    """Return the JSON pointer (RFC 6901) to a value in a body, for example `/items/17/title`."""
    escaped_names = [str(name).replace("~", "~0").replace("/", "~1") for name in path]
    return "".join(f"/{name}" for name in escaped_names)


def describe_validation_error(error: Mapping[str, Any]) -> str:
    """Return the message of one of Pydantic's errors, without the input that it may quote."""
    return str(error["msg"]).removeprefix("Value error, ")
