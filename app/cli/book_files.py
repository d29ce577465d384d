"""The format option and the file argument, which `import books` and `export books` share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from app.core.formats import Format

_FORMATS_BY_SUFFIX: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


class FormatChoice(StrEnum):
    """The values of the option `--format`. Typer needs them as an enumeration."""

    csv = "csv"
    jsonl = "jsonl"
    json = "json"


FormatOption = Annotated[
    FormatChoice | None,
    typer.Option(
        "--format",
        help="CSV, JSON lines (one object per line), or JSON (one array of objects). By default,"
        " the file's extension decides.",
    ),
]


def is_standard_stream(file: Path) -> bool:
    """Return whether a file argument is `-`, which stands for standard input or output."""
    return str(file) == "-"


def choose_format(
    file: Path, format_option: FormatChoice | None, standard_stream_format: Format | None = None
) -> Format:
    """Return the format of a file: the value of the option `--format`, or the file's extension.

    For example, the format of `books.ndjson` is "jsonl". `standard_stream_format` is the format of
    `-`, which lacks an extension. Raises `ValueError` if the format cannot be determined.
    """
    if format_option is not None:
        return format_option.value
    file_format = _FORMATS_BY_SUFFIX.get(file.suffix.lower())
    if file_format is None and is_standard_stream(file):
        file_format = standard_stream_format
    if file_format is None:
        raise ValueError(
            "its format is unknown: pass --format csv, --format jsonl or --format json"
        )
    return file_format
