"""Types of strings that have to match a regular expression, which no error message shows."""

from dataclasses import dataclass
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from app.core.field_errors import with_message


@dataclass(frozen=True)
class Pattern:
    """Metadata of a string that has to match a regular expression, with the error message:

        Country = Annotated[str, Pattern("^[A-Z]{2}$", "Must be two capital letters such as GB")]

    With `Field(pattern=...)`, the error message could not say what is allowed.
    """

    regex: str
    message: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        pattern_schema = core_schema.str_schema(pattern=self.regex)
        return core_schema.chain_schema(
            [handler(source), with_message(pattern_schema, "string_pattern_mismatch", self.message)]
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "pattern": self.regex}


@dataclass(frozen=True, eq=False)
class CanonicalText:
    """Metadata of a field that accepts only text in one format, for example of a date.

    Use it as `Annotated[date, CanonicalText(...)]`. Pydantic first matches the text, and then
    converts it.

    Args:
        pattern: A regular expression that the whole text has to match.
        message: The error message for other text, for example "Must be a UUID".
        value_schema: Pydantic's schema that converts the text to a value and validates that.
        json_schema: The schema of the field in the OpenAPI document.
    """

    pattern: str
    message: str
    value_schema: CoreSchema
    json_schema: dict[str, Any]

    def __get_pydantic_core_schema__(self, *_: Any) -> CoreSchema:
        string_schema = core_schema.str_schema(strict=True)
        pattern_schema = core_schema.str_schema(pattern=f"^(?:{self.pattern})$")
        return core_schema.chain_schema(
            [
                with_message(string_schema, "string_type", self.message),
                with_message(pattern_schema, "string_pattern_mismatch", self.message),
                self.value_schema,
            ]
        )

    def __get_pydantic_json_schema__(self, *_: Any) -> dict[str, Any]:
        return dict(self.json_schema)


SHA256_PATTERN: Final = Pattern("^[0-9a-f]{64}$", "Must be 64 hexadecimal digits in lower case")
