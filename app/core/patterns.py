"""Types of strings that have to match a regular expression. Error messages do not show it."""

from dataclasses import dataclass
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from app.core.field_errors import DescribeValue, with_error_message


@dataclass(frozen=True)
class Pattern:
    """Annotation of a string type that has to match a regular expression. Example:

        Country = Annotated[str, Pattern("^[A-Z]{2}$", "Must be two capital letters such as GB")]

    Unlike Pydantic's `Field(pattern=...)`, it has its own error message. The regular expression
    is also part of the JSON schema.

    Args:
        regex: The regular expression, in the syntax of Rust.
        message: The error message for other strings.
        code: The code of the field error, for programs.
        documented_regex: The regular expression of the JSON schema, if `regex` has syntax that not
            every engine knows.
        description: The description of a field that does not have its own.
    """

    regex: str
    message: str
    code: str = "string_pattern_mismatch"
    documented_regex: str | None = None
    description: str | None = None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the schema by which Pydantic validates the type, and then matches the string."""
        type_schema = handler(source)
        pattern_schema = with_error_message(
            core_schema.str_schema(pattern=self.regex), self.code, self.message
        )
        return core_schema.chain_schema([type_schema, pattern_schema])

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        json_schema = {**handler(schema), "pattern": self.documented_regex or self.regex}
        if self.description is not None:
            json_schema["description"] = self.description
        return json_schema


# Instances are compared by identity, because their schemas are dicts, which cannot be hashed.
@dataclass(frozen=True, eq=False)
class CanonicalText:
    """Annotation of a type that accepts only strings in one format, for example 2026-11-29.

    Use it as `Annotated[date, CanonicalText(...)]`. Pydantic's own types accept several formats.

    Args:
        pattern: A regular expression that the whole string has to match.
        message: The error message for other input, for example "Must be a UUID".
        value_schema: The Pydantic schema that converts a matching string to a value.
        json_schema: The schema of the field in the OpenAPI document.
        describe: A function that returns a more specific message for a wrong value.
    """

    pattern: str
    message: str
    value_schema: CoreSchema
    json_schema: dict[str, Any]
    describe: DescribeValue | None = None

    def __get_pydantic_core_schema__(self, *_: Any) -> CoreSchema:
        """Return the schema by which Pydantic matches a string, and then converts it to a value."""
        string_schema = core_schema.str_schema(strict=True)
        pattern_schema = core_schema.str_schema(pattern=f"^(?:{self.pattern})$")
        return core_schema.chain_schema(
            [
                with_error_message(string_schema, "string_type", self.message, self.describe),
                with_error_message(
                    pattern_schema, "string_pattern_mismatch", self.message, self.describe
                ),
                self.value_schema,
            ]
        )

    def __get_pydantic_json_schema__(self, *_: Any) -> dict[str, Any]:
        return dict(self.json_schema)


SHA256_PATTERN: Final = Pattern("^[0-9a-f]{64}$", "Must be 64 hexadecimal digits in lower case")
