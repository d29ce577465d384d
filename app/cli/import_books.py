"""The commands `import books` and `seed`."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from app.books import service
from app.books.schemas import BookLine, ImportCounts
from app.cli import runtime
from app.cli.book_files import FormatOption, choose_format, is_standard_stream
from app.cli.progress_bar import progress_bar
from app.core.formats import Format, InvalidLine, parse_lines

if TYPE_CHECKING:
    from rich.console import Console

CATALOGUE: Final = Path(service.__file__).with_name("catalogue.csv")
INVALID_LINES_EXIT_CODE: Final = 3
LINES_PER_PROGRESS_UPDATE: Final = 1000
group = typer.Typer(help="Import data from files.", no_args_is_help=True)


def seed() -> None:
    """Add a small catalogue of real books. Existing books stay unchanged."""
    with CATALOGUE.open("rb") as file:
        added, _ = _import_file(file, "csv", strict=True)
    typer.echo(_summarize(added))


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
        if is_standard_stream(file):
            added, invalid_lines = _import_file(sys.stdin.buffer, chosen_format, strict=strict)
        else:
            with file.open("rb") as stream:
                added, invalid_lines = _import_file(stream, chosen_format, strict=strict)
    except OSError as error:
        runtime.fail(f"cannot read {file}: {error.strerror}")
    except ValueError as error:
        runtime.fail(f"cannot read {file}: {error}")
    except _InvalidLinesError:
        runtime.fail("nothing was imported, because lines are invalid")
    typer.echo(_summarize(added, invalid_lines))
    if invalid_lines > 0:
        raise typer.Exit(INVALID_LINES_EXIT_CODE)


class _InvalidLinesError(Exception):
    """Raised in strict mode to roll back the import of a file that has invalid lines."""


class _LineReader:
    """Reads the lines of a file, and reports invalid ones on standard error.

    `invalid_lines` is the number of lines that were invalid so far.
    """

    def __init__(self, file: BinaryIO, file_format: Format, console: "Console") -> None:
        """Create a reader of an open file, which prints its reports on `console`."""
        self._file = file
        self._format = file_format
        self._console = console
        self.invalid_lines = 0

    def valid_lines(
        self, *, strict: bool, on_progress: Callable[[int], None]
    ) -> Iterator[BookLine]:
        """Yield the lines that are valid.

        Every 1000 lines, `on_progress` is called with the position in the file in bytes, or with
        the number of lines if the file is a pipe. Raises `_InvalidLinesError` after the last line
        if `strict` is set and any line was invalid.
        """
        parsed_lines = parse_lines(self._format, BookLine, self._file)
        for line_count, parsed_line in enumerate(parsed_lines, 1):
            if isinstance(parsed_line, InvalidLine):
                self.invalid_lines += 1
                self._report_invalid_line(parsed_line)
            else:
                yield parsed_line.item
            if line_count % LINES_PER_PROGRESS_UPDATE == 0:
                if self._file.seekable():
                    on_progress(self._file.tell())
                else:
                    on_progress(line_count)
        if strict and self.invalid_lines > 0:
            raise _InvalidLinesError

    def _report_invalid_line(self, invalid_line: InvalidLine) -> None:
        # The message may quote the file, whose control characters could change the terminal.
        printable = "".join(
            char if char.isprintable() else "?" for char in invalid_line.error_message
        )
        message = f"line {invalid_line.line_number}: {printable}"
        self._console.print(message, markup=False, soft_wrap=True)


def _import_file(file: BinaryIO, file_format: Format, *, strict: bool) -> tuple[ImportCounts, int]:
    """Import the books of an open file in one transaction, and show the progress on a terminal.

    Returns what was added, and the number of invalid lines. Raises `_InvalidLinesError` instead
    if `strict` is set and any line is invalid.
    """
    with (
        runtime.prepare_backends(runtime.provide_database, quiet=True) as settings,
        progress_bar() as progress,
    ):
        # A pipe has no size, so its progress is shown without a percentage.
        size_in_bytes = None
        if file.seekable():
            size_in_bytes = os.fstat(file.fileno()).st_size
        task = progress.add_task("reading", total=size_in_bytes)
        reader = _LineReader(file, file_format, progress.console)

        def read_lines() -> Iterator[BookLine]:
            yield from reader.valid_lines(
                strict=strict, on_progress=lambda done: progress.update(task, completed=done)
            )
            # The database merges the lines after it has received the last one.
            progress.update(task, description="merging", total=None)

        async def import_lines() -> ImportCounts:
            async with runtime.open_transaction(settings) as session:
                return await service.BookService(session).import_lines(read_lines())

        return runtime.run_or_fail(import_lines()), reader.invalid_lines


def _summarize(added: ImportCounts, invalid_lines: int = 0) -> str:
    """Return a summary such as "Books added: 3, authors added: 1, invalid lines: 2"."""
    summary = f"Books added: {added.books}, authors added: {added.authors}"
    if invalid_lines > 0:
        summary += f", invalid lines: {invalid_lines}"
    return summary
