"""The format option and the file argument, which `import books` and `export books` share."""

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
    """The values of the option `--format`. Typer needs them as an enumeration."""

    csv = "csv"
    jsonl = "jsonl"


FormatOption = Annotated[
    FormatChoice | None,
    typer.Option("--format", help="File format. By default, the file's extension decides."),
]


def is_standard_stream(file: Path) -> bool:
    """Return whether a file argument is `-`, which stands for standard input or output."""
    return str(file) == "-"


def choose_format(file: Path, choice: FormatChoice | None, default: Format | None = None) -> Format:
    """Return the format that the user chose, or the format that belongs to the file's extension.

    For example "jsonl" for `books.ndjson`. `default` is the format of a standard stream, which has
    no extension. Ends the command if the format cannot be determined.
    """
    if choice is not None:
        return choice.value
    file_format = _FORMATS_BY_SUFFIX.get(file.suffix.lower())
    if file_format is None and is_standard_stream(file):
        file_format = default
    if file_format is None:
        runtime.fail(f"cannot determine the format of {file}: pass --format csv or --format jsonl")
    return file_format
