"""The commands `import books` and `seed`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Final
from uuid import UUID

import typer

from app.books import service
from app.books.schemas import BookLine, ImportCounts
from app.cli import runtime
from app.cli.book_files import FormatChoice, FormatOption, choose_format, is_standard_stream
from app.cli.line_reader import (
    InputFile,
    InvalidLinesError,
    LineReader,
    label_input,
    make_printable,
    open_input,
)
from app.cli.progress_bar import create_progress_bar
from app.cli.read_options import (
    ColumnOption,
    DelimiterOption,
    EncodingOption,
    IgnoreOtherColumnsOption,
    parse_columns,
)
from app.core.db import TransactionSession
from app.core.formats import SIGNATURE_LENGTH, Format, ReadOptions, describe_file_without_text
from app.core.schemas import EXAMPLE_ID

CATALOG: Final = Path(service.__file__).with_name("catalog.csv")
INVALID_LINES_EXIT_CODE: Final = 3
group = typer.Typer(help="Import data from files.", no_args_is_help=True)


def seed() -> None:
    """Add a small catalog of real books. Existing books stay unchanged."""
    with CATALOG.open("rb") as file:
        catalog = InputFile(file, CATALOG.name, "csv", ReadOptions())
        summary = _run_import(catalog, strict=True, dry_run=False, first_id=EXAMPLE_ID)
    typer.echo(summary)


@group.command(name="books")
def import_books(
    # Typer does not check the file (readable=False), because opening it gives a better message.
    file: Annotated[
        Path, typer.Argument(help="The file to read; - for standard input.", readable=False)
    ],
    file_format: FormatOption = None,
    columns: ColumnOption = None,
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    *,
    ignore_other_columns: IgnoreOtherColumnsOption = False,
    strict: Annotated[
        bool, typer.Option(help="Import nothing if any line of the file is invalid.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report what would be imported. Change nothing.")
    ] = False,
) -> None:
    """Add the books of a file, and their authors. Existing books stay unchanged.

    Every line has the author's name, the title of a book and, if it is known, the author's date of
    birth (dob). The first line of a CSV file names the columns.

    Invalid lines are reported and skipped. The exit code is then 3, or 1 with --strict.
    """
    columns_by_field = parse_columns(columns or [], BookLine)
    options = ReadOptions(columns_by_field, ignore_other_columns, delimiter, encoding)
    with _failing_on_errors(file), open_input(file) as open_file:
        chosen_format = _choose_input_format(file, open_file, file_format)
        if delimiter is not None and chosen_format != "csv":
            runtime.fail("--delimiter is only for CSV: leave it out for a JSON file")
        input_file = InputFile(open_file, label_input(file), chosen_format, options)
        summary = _run_import(input_file, strict=strict, dry_run=dry_run)
    typer.echo(summary)
    if summary.invalid_line_count > 0:
        raise typer.Exit(INVALID_LINES_EXIT_CODE)


@contextmanager
def _failing_on_errors(file: Path) -> Iterator[None]:
    """End the command if the block cannot read the file, or if it refuses invalid lines."""
    try:
        yield
    except OSError as error:
        runtime.fail(f"cannot read {label_input(file)}: {error.strerror}")
    except ValueError as error:
        runtime.fail(make_printable(f"cannot read {label_input(file)}: {error}"))
    except InvalidLinesError:
        runtime.fail("nothing was imported, because lines are invalid")


@dataclass(frozen=True)
class _ImportSummary:
    """The outcome of an import: how much it has added, and how many lines it has skipped."""

    added: ImportCounts
    invalid_line_count: int
    is_dry_run: bool

    def __str__(self) -> str:
        """Return a summary such as "Books added: 3, authors added: 1, invalid lines: 2"."""
        summary = f"Books added: {self.added.books}, authors added: {self.added.authors}"
        if self.is_dry_run:
            summary = f"Books to add: {self.added.books}, authors to add: {self.added.authors}"
        if self.invalid_line_count > 0:
            summary += f", invalid lines: {self.invalid_line_count}"
        if self.is_dry_run:
            summary += ". Nothing was changed (--dry-run)."
        return summary


class _DryRunEnd(Exception):
    """Raised at the end of a dry run to roll back what it has added."""

    def __init__(self, summary: _ImportSummary) -> None:
        super().__init__()
        self.summary = summary


def _choose_input_format(
    file: Path, open_file: BinaryIO, format_option: FormatChoice | None
) -> Format:
    """Return the format of an open file. Raises `ValueError` if it cannot be determined.

    If the file is not text, for example an Excel workbook, the error says so, because no value of
    `--format` would help.
    """
    try:
        return choose_format(file, format_option)
    except ValueError:
        # Standard input is not read here, because that would wait for its first bytes.
        if not is_standard_stream(file):
            problem = describe_file_without_text(open_file.read(SIGNATURE_LENGTH))
            if problem is not None:
                raise ValueError(problem) from None
        raise


def _run_import(
    input_file: InputFile, *, strict: bool, dry_run: bool, first_id: UUID | None = None
) -> _ImportSummary:
    """Import an open file in a transaction, which a dry run rolls back."""

    async def run(session: TransactionSession) -> _ImportSummary:
        return await _import_file(
            session, input_file, strict=strict, dry_run=dry_run, first_id=first_id
        )

    try:
        return runtime.run_in_transaction(run)
    except _DryRunEnd as end:
        return end.summary


async def _import_file(
    session: TransactionSession,
    input_file: InputFile,
    *,
    strict: bool,
    dry_run: bool,
    first_id: UUID | None,
) -> _ImportSummary:
    """Add the books of an open file and their authors, and show the progress on a terminal.

    Invalid lines are reported and skipped. Raises an exception to roll back the transaction:
    `InvalidLinesError` if `strict` is set and any line is invalid, and `_DryRunEnd` at the end of a
    dry run.
    """
    with create_progress_bar() as progress:
        reader = LineReader(BookLine, input_file, progress)
        book_lines = reader.read_valid_lines(strict=strict)
        added = await service.BookService(session).import_lines(book_lines, first_id=first_id)
    summary = _ImportSummary(added, reader.invalid_line_count, is_dry_run=dry_run)
    if dry_run:
        # The database has added everything like in an import, so that the counts are exact.
        raise _DryRunEnd(summary)
    return summary
