"""Options for reading a file that another program has written.

Error messages name the options of the import commands that change these values, for example
`--encoding`, because a person who reads such a message wants to know what to type next.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

# Ways to write a tab, which is difficult to type in a shell.
_TAB_NAMES: Final = ("tab", r"\t")


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file.

    Attributes:
        columns: The name of a column (CSV) or key (JSON) by the name of a field of the model, for
            example `{"title": "original_title"}`. A field that is not listed is read from the
            column with the name of the field. If it is not empty, other columns are ignored.
        ignore_other_columns: Whether to ignore columns that no field is read from. Otherwise they
            are errors.
        delimiter: The character between the values of a CSV record. None to recognize it.
        encoding: The name of a Python codec, for example `cp1252`. None to recognize UTF-16 and
            UTF-32, and otherwise to read UTF-8.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    ignore_other_columns: bool = False
    delimiter: str | None = None
    encoding: str | None = None

    @property
    def ignores_other_columns(self) -> bool:
        """Return whether columns that no field is read from are ignored."""
        return self.ignore_other_columns or bool(self.columns)

    def column_of(self, field_name: str) -> str:
        """Return the name of the column from which a field is read."""
        return self.columns.get(field_name, field_name)


def parse_delimiter(text: str) -> str:
    r"""Return the delimiter that a text such as `;`, `tab` or `\t` stands for.

    Raises `ValueError` if the text cannot be a delimiter.
    """
    delimiter = "\t" if text.lower() in _TAB_NAMES else text
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError(
            "the delimiter must be one character, for example ; or | or tab, but not a quote"
        )
    return delimiter


def check_encoding(name: str) -> str:
    """Return the name of a Python codec for text.

    Raises `ValueError` if Python does not know it, or if it does not decode text, such as `zip`.
    """
    message = (
        f"unknown encoding {name}: examples of known encodings are utf-8, utf-16, cp1252 (Windows,"
        " western languages), cp1251 (Windows, Cyrillic) and latin-1"
    )
    try:
        # Raises `LookupError` for codecs that do not convert bytes to text, and `UnicodeError` for
        # those that cannot continue after an undecodable byte.
        b"a".decode(name, "replace")
        "".encode(name)
    except (LookupError, ValueError):
        raise ValueError(message) from None
    return name
