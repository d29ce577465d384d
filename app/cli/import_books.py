"""The commands `import books` and `seed`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from app.books import service
from app.books.schemas import BookLine, ImportCounts
from app.cli import runtime
from app.cli.book_files import FormatOption, choose_format, is_standard_stream
from app.cli.progress_bar import create_progress_bar
from app.core.db import TransactionSession
from app.core.formats import Format, InvalidLine, parse_lines

if TYPE_CHECKING:
    from rich.progress import Progress

CATALOG: Final = Path(service.__file__).with_name("catalog.csv")
INVALID_LINES_EXIT_CODE: Final = 3
LINES_PER_PROGRESS_UPDATE: Final = 1000
group = typer.Typer(help="Import data from files.", no_args_is_help=True)


def seed() -> None:
    """Add a small catalog of real books. Existing books stay unchanged."""
    with CATALOG.open("rb") as file:
        summary = runtime.run_in_transaction(
            lambda session: _import_file(session, file, "csv", strict=True)
        )
    typer.echo(summary)


@group.command(name="books")
def import_books(
    # Typer does not check the file (readable=False), because opening it gives a better message.
    file: Annotated[
        Path, typer.Argument(help="The file to read; - for standard input.", readable=False)
    ],
    file_format: FormatOption = None,
    *,
    strict: Annotated[
        bool, typer.Option(help="Import nothing if any line of the file is invalid.")
    ] = False,
) -> None:
    """Add the books of a file, and their authors. Existing books stay unchanged.

    Every line has the author's name, the author's date of birth (dob) and the title of a book.
    Invalid lines are reported and skipped. The exit code is then 3, or 1 with --strict.
    """
    chosen_format = choose_format(file, file_format)
    try:
        with _open_input(file) as open_file:
            summary = runtime.run_in_transaction(
                lambda session: _import_file(session, open_file, chosen_format, strict=strict)
            )
    except OSError as error:
        runtime.fail(f"cannot read {file}: {error.strerror}")
    except ValueError as error:
        runtime.fail(f"cannot read {file}: {error}")
    except _InvalidLinesError:
        runtime.fail("nothing was imported, because lines are invalid")
    typer.echo(summary)
    if summary.invalid_line_count > 0:
        raise typer.Exit(INVALID_LINES_EXIT_CODE)


class _InvalidLinesError(Exception):
    """Raised in strict mode to roll back the import of a file that has invalid lines."""


@dataclass(frozen=True)
class _ImportSummary:
    """The outcome of an import: how much it has added, and how many lines it has skipped."""

    added: ImportCounts
    invalid_line_count: int

    def __str__(self) -> str:
        """Return a summary such as "Books added: 3, authors added: 1, invalid lines: 2"."""
        summary = f"Books added: {self.added.books}, authors added: {self.added.authors}"
        if self.invalid_line_count > 0:
            summary += f", invalid lines: {self.invalid_line_count}"
        return summary


@contextmanager
def _open_input(file: Path) -> Iterator[BinaryIO]:
    """Open a file or standard input (`-`) for reading. Close the file when the block ends."""
    if is_standard_stream(file):
        yield sys.stdin.buffer
        return
    with file.open("rb") as open_file:
        yield open_file


async def _import_file(
    session: TransactionSession, file: BinaryIO, file_format: Format, *, strict: bool
) -> _ImportSummary:
    """Add the books of an open file and their authors, and show the progress on a terminal.

    Invalid lines are reported and skipped. If `strict` is set and any line is invalid, raises
    `_InvalidLinesError`, so that the transaction is rolled back.
    """
    with create_progress_bar() as progress:
        reader = _BookLineReader(file, file_format, progress)
        book_lines = reader.read_valid_lines(strict=strict)
        added = await service.BookService(session).import_lines(book_lines)
    return _ImportSummary(added, reader.invalid_line_count)


class _BookLineReader:
    """Reads the lines of a file, reports invalid lines, and shows the progress.

    `invalid_line_count` is the number of lines that were invalid so far.
    """

    def __init__(self, file: BinaryIO, file_format: Format, progress: "Progress") -> None:
        """Create a reader of an open file, and a task that shows its progress in `progress`."""
        self._file = file
        self._format = file_format
        self._progress = progress
        # A pipe has no size, so its progress is shown without a percentage.
        size_in_bytes = None
        if file.seekable():
            size_in_bytes = os.fstat(file.fileno()).st_size
        self._progress_task = progress.add_task("reading", total=size_in_bytes)
        self.invalid_line_count = 0

    def read_valid_lines(self, *, strict: bool) -> Iterator[BookLine]:
        """Yield the valid lines of the file. Report each invalid line on standard error.

        Raises `_InvalidLinesError` after the last line if `strict` is set and any line was invalid.
        """
        parsed_lines = parse_lines(self._format, BookLine, self._file)
        for line_count, parsed_line in enumerate(parsed_lines, 1):
            if isinstance(parsed_line, InvalidLine):
                self.invalid_line_count += 1
                self._report_invalid_line(parsed_line)
            else:
                yield parsed_line.item
            if line_count % LINES_PER_PROGRESS_UPDATE == 0:
                self._show_progress(line_count)
        if strict and self.invalid_line_count > 0:
            raise _InvalidLinesError
        # The database merges the lines after it has received the last one. How long that takes is
        # unknown (total=None).
        self._progress.update(self._progress_task, description="merging", total=None)

    def _show_progress(self, line_count: int) -> None:
        """Show how many bytes of a regular file, or how many lines of a pipe, have been read."""
        completed = line_count
        if self._file.seekable():
            completed = self._file.tell()
        self._progress.update(self._progress_task, completed=completed)

    def _report_invalid_line(self, invalid_line: InvalidLine) -> None:
        """Print a message such as "line 3: has 2 columns instead of 3" above the progress bar."""
        # The message may quote the file, whose control characters could change the terminal.
        printable_message = "".join(
            character if character.isprintable() else "?"
            for character in invalid_line.error_message
        )
        report = f"line {invalid_line.line_number}: {printable_message}"
        self._progress.console.print(report, markup=False, soft_wrap=True)
