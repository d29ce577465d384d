"""The header of a CSV file: its delimiter, and the columns from which the fields are read."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from pydantic import BaseModel

from app.core.formats._column_names import (
    describe_missing_columns,
    describe_unknown_columns,
    fold_name,
    is_required,
)
from app.core.formats._csv_records import DEFAULT_DELIMITER, CsvRecord, CsvRecords
from app.core.formats._read_options import ReadOptions
from app.core.formats._text_lines import InvalidLine

# The first of several equally good delimiters is used.
_DELIMITERS: Final = (DEFAULT_DELIMITER, ";", "\t", "|")
# Excel reads and writes a first line that names the delimiter, for example `sep=;`.
_SEPARATOR_LINE: Final = re.compile(r'"?sep=([^"\r\n])"?[\r\n]*', re.IGNORECASE)


class CsvColumns(NamedTuple):
    """The number of columns of a CSV file, and the column from which each field is read."""

    column_count: int
    indexes_by_field: dict[str, int]


def read_header(records: CsvRecords, model: type[BaseModel], options: ReadOptions) -> CsvColumns:
    """Read the header of a CSV file, and set the delimiter of its records.

    Raises `ValueError` if the header is not valid, or if its columns are not those that the model
    and the options name.
    """
    named_delimiter = records.read_separator_line(_SEPARATOR_LINE)
    records.delimiter = (
        options.delimiter or named_delimiter or _recognize_delimiter(records, model, options)
    )

    header = next(records, None)
    if header is None:
        raise ValueError("it is empty, but its first line has to name the columns")
    if isinstance(header, InvalidLine):
        raise ValueError(f"line {header.line_number}, the header, {header.error_message}")  # noqa: TRY004
    try:
        indexes_by_field = _find_columns(header.values, model, options)
    except ValueError as error:
        raise ValueError(f"line {header.line_number}, the header, {error}") from None
    return CsvColumns(len(header.values), indexes_by_field)


def _recognize_delimiter(records: CsvRecords, model: type[BaseModel], options: ReadOptions) -> str:
    """Return the delimiter with which the header has the most columns that are wanted.

    If several delimiters give the same number of wanted columns, the one with the most columns in
    total is returned.
    """
    wanted_names = {fold_name(options.column_of(field_name)) for field_name in model.model_fields}
    scores: dict[str, tuple[int, int]] = {}
    for delimiter in _DELIMITERS:
        records.delimiter = delimiter
        header = next(records, None)
        records.put_back()
        # Wrong quotes are more likely than a header that has only one column.
        scores[delimiter] = (0, 2)
        if isinstance(header, CsvRecord):
            wanted_count = len(wanted_names & {fold_name(value) for value in header.values})
            scores[delimiter] = (wanted_count, len(header.values))
    return max(scores, key=lambda delimiter: scores[delimiter])


def _find_columns(
    columns: Sequence[str], model: type[BaseModel], options: ReadOptions
) -> dict[str, int]:
    """Return the index of the column for each field that the file has.

    Raises `ValueError` with a message that continues "The header ...".
    """
    indexes_by_field: dict[str, int] = {}
    missing_fields: list[str] = []
    for field_name in model.model_fields:
        index = _find_column(columns, options.column_of(field_name))
        if index is not None:
            indexes_by_field[field_name] = index
        elif field_name in options.columns or is_required(model, field_name):
            missing_fields.append(field_name)

    used_indexes = set(indexes_by_field.values())
    other_columns = [column for index, column in enumerate(columns) if index not in used_indexes]
    if missing_fields:
        message = describe_missing_columns(missing_fields, other_columns, options)
        if not indexes_by_field:
            header = ",".join(model.model_fields)
            message += f". If the file has no header, add one as its first line: {header}"
        raise ValueError(message)
    if other_columns and not options.ignores_other_columns:
        raise ValueError(describe_unknown_columns(other_columns, model))
    return indexes_by_field


def _find_column(columns: Sequence[str], name: str) -> int | None:
    """Return the index of the column with a name, regardless of case and surrounding blanks.

    Returns None if the file has no such column. If several columns match, the one with exactly this
    name is used. Raises `ValueError` if that is not exactly one.
    """
    indexes = [i for i, column in enumerate(columns) if fold_name(column) == fold_name(name)]
    if len(indexes) > 1:
        exact_indexes = [index for index in indexes if columns[index] == name]
        if len(exact_indexes) != 1:
            raise ValueError(f"has {len(indexes)} columns {name}: rename all but one of them")
        indexes = exact_indexes
    if not indexes:
        return None
    return indexes[0]
