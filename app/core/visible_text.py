"""The type of names and titles: text with at least one character that people can see."""

from typing import Final

from pydantic_core import SchemaValidator, core_schema

from app.core.patterns import Pattern

# A character that leaves a mark on the screen or on paper. Unassigned and private characters count
# as visible, because a newer or a special font shows them. Combining marks do not count, because
# they only change another character. The regular expression has the syntax of Rust.
_VISIBLE_CHARACTER: Final = (
    r"[^\p{White_Space}\p{Control}\p{Format}\p{Mark}\p{Default_Ignorable_Code_Point}"
    # The empty pattern of Braille and the musical null notehead are symbols without ink.
    r"\u2800\U0001D159]"
)
# The regular expression of the OpenAPI document is understood by every engine. Therefore, it lists
# invisible characters as ranges, without combining marks and without characters above U+FFFF. It
# also contains the rule of `string_of_length`, because a schema has only one pattern.
_INVISIBLE_RANGES: Final = (
    r"\x00-\x20\x7F-\xA0\xAD\u034F\u0600-\u0605\u061C\u06DD\u070F\u0890\u0891\u08E2\u115F\u1160"
    r"\u1680\u17B4\u17B5\u180B-\u180F\u2000-\u200F\u2028-\u202F\u205F-\u206F\u2800\u3000\u3164"
    r"\uFE00-\uFE0F\uFEFF\uFFA0\uFFF0-\uFFFB"
)
VISIBLE_TEXT: Final = Pattern(
    _VISIBLE_CHARACTER,
    "Must contain a visible character",
    code="no_visible_character",
    documented_regex=rf"^[^\x00]*[^{_INVISIBLE_RANGES}][^\x00]*$",
    description=(
        "Contains at least one visible character. Blanks, control and format characters, fillers"
        " and combining marks alone are not enough."
    ),
)
_validator: Final = SchemaValidator(core_schema.str_schema(pattern=_VISIBLE_CHARACTER))


def has_visible_character(text: str) -> bool:
    """Return whether a text, such as "Kindred", contains a character that people can see."""
    return _validator.isinstance_python(text)
