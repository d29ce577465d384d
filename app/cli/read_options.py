"""The options of import commands for files that other programs have written."""

from collections.abc import Callable, Iterable
from typing import Annotated

import typer
from pydantic import BaseModel

from app.core.formats import check_encoding, parse_delimiter

ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="FIELD=COLUMN",
        help="Read a field from a column with another name, for example"
        " --column author='Author Name'. Other columns are then ignored. Can be repeated. For JSON,"
        " COLUMN is a key, or a path such as author.name.",
    ),
]
IgnoreOtherColumnsOption = Annotated[
    bool, typer.Option("--ignore-other-columns", help="Ignore columns that no field is read from.")
]


def _option_parser(parse: Callable[[str], str]) -> Callable[[str], str]:
    """Return a function that parses an option, and shows the usage if the value is wrong."""

    def parse_option(value: str) -> str:
        try:
            return parse(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parse_option


DelimiterOption = Annotated[
    str | None,
    typer.Option(
        "--delimiter",
        metavar="CHARACTER",
        parser=_option_parser(parse_delimiter),
        help="The delimiter of a CSV file, for example ; or tab. By default, the header decides.",
    ),
]
EncodingOption = Annotated[
    str | None,
    typer.Option(
        "--encoding",
        metavar="NAME",
        parser=_option_parser(check_encoding),
        help="The encoding of the file, for example cp1252 (Windows). By default, UTF-8, or UTF-16"
        " if the file begins like it.",
    ),
]


def parse_columns(columns: Iterable[str], model: type[BaseModel]) -> dict[str, str]:
    """Return the columns by the names of fields, from options such as `title=original_title`.

    Shows the usage of the command if an option is malformed or does not name a field of the model.
    """
    columns_by_field: dict[str, str] = {}
    for option in columns:
        field_name, separator, column = (part.strip() for part in option.partition("="))
        if not separator or not column:
            raise _column_error(f"{option} is not of the form FIELD=COLUMN")
        if field_name not in model.model_fields:
            message = f"{field_name} is not a field: the fields are {', '.join(model.model_fields)}"
            if column in model.model_fields:
                message += f" (did you mean {column}={field_name}?)"
            raise _column_error(message)
        if field_name in columns_by_field:
            raise _column_error(f"the field {field_name} has two columns")
        columns_by_field[field_name] = column
    return columns_by_field


def _column_error(message: str) -> typer.BadParameter:
    """Return an error about the option `--column`."""
    return typer.BadParameter(message, param_hint="'--column'")
