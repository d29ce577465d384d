"""Compare the names of columns with the fields of a model, and say which option helps."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from shlex import quote
from typing import Final

from pydantic import BaseModel

from app.core.formats._read_options import ReadOptions

_MAX_NAMES_SHOWN: Final = 30
# Characters. A file that is not CSV may have a header of one very long name.
_MAX_NAME_LENGTH: Final = 100
# The similarity of "author" and "authors" is 0.92, that of "title" and "dob" is 0.
_MIN_SIMILARITY: Final = 0.6


def fold_name(name: str) -> str:
    """Return the form in which names are compared: in lower case, with one space between words.

    The headers of spreadsheets often have line breaks.
    """
    return _join_words(name).casefold()


def is_required(model: type[BaseModel], field_name: str) -> bool:
    """Return whether a field of a model has no default."""
    return model.model_fields[field_name].is_required()


def describe_missing_columns(
    missing_fields: Sequence[str], other_columns: Sequence[str], options: ReadOptions
) -> str:
    """Return which columns are missing, and the options with which they can be read.

    `other_columns` are the columns from which no field is read. Example of the result, if the file
    has a column `authors`:

        has no column author. Its other columns are authors, isbn. Say from which columns to read,
        for example: --column author=authors
    """
    missing_names = [options.column_of(field_name) for field_name in missing_fields]
    noun = "column" if len(missing_names) == 1 else "columns"
    message = f"has no {noun} {join_names(missing_names)}."
    if other_columns:
        message += f" Its other columns are {join_names(other_columns)}."
    suggestions = [
        "--column " + quote(f"{field_name}={_suggest_column(field_name, other_columns)}")
        for field_name in missing_fields
    ]
    return f"{message} Say from which columns to read, for example: {' '.join(suggestions)}"


def describe_unknown_columns(unknown_columns: Sequence[str], model: type[BaseModel]) -> str:
    """Return which columns are unknown, which ones are expected, and how to ignore columns.

    Example: "has unknown columns: isbn. The expected columns are author, dob (optional), title.
    Pass --ignore-other-columns to ignore the others".
    """
    expected_names = [
        name if is_required(model, name) else f"{name} (optional)" for name in model.model_fields
    ]
    return (
        f"has unknown columns: {join_names(unknown_columns)}."
        f" The expected columns are {join_names(expected_names)}."
        " Pass --ignore-other-columns to ignore the others"
    )


def join_names(names: Iterable[str]) -> str:
    """Return a list such as "title, isbn, (without a name)". Long names and lists are shortened."""
    shown_names = [_shorten(_join_words(name)) or "(without a name)" for name in names]
    hidden_count = len(shown_names) - _MAX_NAMES_SHOWN
    if hidden_count > 0:
        shown_names[_MAX_NAMES_SHOWN:] = [f"and {hidden_count} more"]
    return ", ".join(shown_names)


def _suggest_column(field_name: str, columns: Sequence[str]) -> str:
    """Return the column whose name resembles that of a field, otherwise the word COLUMN."""
    columns_by_folded_name = {
        fold_name(column): _join_words(column)
        for column in reversed(columns)
        if len(column) <= _MAX_NAME_LENGTH
    }
    for folded_name, column in columns_by_folded_name.items():
        if field_name in folded_name:
            return column
    similar_names = get_close_matches(
        field_name, columns_by_folded_name, n=1, cutoff=_MIN_SIMILARITY
    )
    if similar_names:
        return columns_by_folded_name[similar_names[0]]
    return "COLUMN"


def _shorten(name: str) -> str:
    """Return a name, or its beginning and "..." if it is long."""
    if len(name) > _MAX_NAME_LENGTH:
        return f"{name[:_MAX_NAME_LENGTH]}..."
    return name


def _join_words(name: str) -> str:
    """Return a name on one line, without surrounding blanks."""
    return " ".join(name.split())
