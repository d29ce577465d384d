"""The file argument and the format option of `import books` and `export books`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from app.cli import runtime
from app.core.formats import Format

_FORMATS_BY_SUFFIX: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


class FormatChoice(StrEnum):
    """The format of a file, as typer needs it for an option."""

    csv = "csv"
    jsonl = "jsonl"


FormatOption = Annotated[
    FormatChoice | None, typer.Option("--format", help="Else by the file's name.")
]


def is_standard_stream(file: Path) -> bool:
    return str(file) == "-"


def choose_format(file: Path, choice: FormatChoice | None, default: Format | None = None) -> Format:
    """Return the chosen format, or the format of the file's name if none was chosen.

    `default` is the format of a standard stream, which has no name.
    """
    if choice is not None:
        return choice.value
    file_format = _FORMATS_BY_SUFFIX.get(file.suffix.lower())
    if file_format is None and is_standard_stream(file):
        file_format = default
    if file_format is None:
        runtime.fail(f"cannot tell the format of {file}: give --format csv or jsonl")
    return file_format
