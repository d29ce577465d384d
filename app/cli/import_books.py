"""The commands `import books` and `seed`."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from app.books import service
from app.books.schemas import BookLine, ImportCounts
from app.cli import runtime
from app.cli.book_files import FormatOption, choose_format, is_standard_stream
from app.cli.progress_bar import progress_bar
from app.core.formats import Format, parse_lines

if TYPE_CHECKING:
    from rich.console import Console

CATALOGUE: Final = Path(service.__file__).with_name("catalogue.csv")
LINES_REFUSED: Final = 3  # exit code
PROGRESS_LINES: Final = 1000  # between two updates of the progress bar
group = typer.Typer(help="Bring data in from files.", no_args_is_help=True)


def seed() -> None:
    """Add a small catalogue of real books; those already there stay as they are."""
    with CATALOGUE.open("rb") as file:
        added, _ = _import(file, "csv", strict=True)
    typer.echo(_summarize(added))


@group.command(name="books")
def import_books(
    file: Annotated[
        Path, typer.Argument(help="A file of author, dob and title; - for stdin.", readable=False)
    ],
    file_format: FormatOption = None,
    *,
    strict: Annotated[bool, typer.Option(help="All of the file or nothing.")] = False,
) -> None:
    """Add the books of a file, with their authors; those already there stay as they are.

    Lines that are wrong are named and left out: the exit code is 3 then, and 1 with --strict.
    """
    # Typer does not check the file (readable=False): opening it gives the reason in every case.
    chosen_format = choose_format(file, file_format)
    try:
        source = nullcontext(sys.stdin.buffer) if is_standard_stream(file) else file.open("rb")
        with source as stream:
            added, refused = _import(stream, chosen_format, strict=strict)
    except OSError as error:
        runtime.fail(f"cannot read {file}: {error.strerror}")
    except ValueError as error:
        runtime.fail(f"cannot read {file}: {error}")
    except _LinesRefused:
        runtime.fail("nothing was added")
    typer.echo(_summarize(added, refused))
    raise typer.Exit(LINES_REFUSED if refused else 0)


class _LinesRefused(Exception):
    """Lines of a file are wrong, and with --strict nothing is to be added then."""


class _LineReader:
    """Reads the lines of a file, and prints on standard error what is wrong with some of them."""

    def __init__(self, file: BinaryIO, file_format: Format, console: "Console") -> None:
        self._file = file
        self._format = file_format
        self._console = console
        self.refused = 0

    def valid_lines(
        self, *, strict: bool, on_progress: Callable[[int], None]
    ) -> Iterator[BookLine]:
        """Yield the lines that are valid.

        Calls `on_progress` with the position in the file, in bytes, or with the number of lines if
        the file has no position. Raises `_LinesRefused` at the end if `strict` and any was wrong.
        """
        lines = parse_lines(self._format, BookLine, self._file)
        for count, (number, line) in enumerate(lines, 1):
            if isinstance(line, str):
                self.refused += 1
                self._print_fault(number, line)
            else:
                yield line
            if count % PROGRESS_LINES == 0:
                on_progress(self._file.tell() if self._file.seekable() else count)
        if strict and self.refused > 0:
            raise _LinesRefused

    def _print_fault(self, number: int, fault: str) -> None:
        printable = "".join(char if char.isprintable() else "?" for char in fault)
        self._console.print(f"line {number}: {printable}", markup=False, soft_wrap=True)


def _import(file: BinaryIO, file_format: Format, *, strict: bool) -> tuple[ImportCounts, int]:
    """Import a file. Return what was added, and how many lines were left out."""
    with runtime.prepare(runtime.with_database, quiet=True) as settings, progress_bar() as progress:
        size = os.fstat(file.fileno()).st_size if file.seekable() else None
        task = progress.add_task("reading", total=size)
        reader = _LineReader(file, file_format, progress.console)

        def lines() -> Iterator[BookLine]:
            yield from reader.valid_lines(
                strict=strict, on_progress=lambda done: progress.update(task, completed=done)
            )
            progress.update(task, description="merging", total=None)

        async def work() -> ImportCounts:
            async with runtime.transaction(settings) as session:
                return await service.BookService(session).import_lines(lines())

        return runtime.run(work()), reader.refused


def _summarize(added: ImportCounts, refused: int = 0) -> str:
    """Example: "Books added: 3, authors added: 1, lines left out: 2"."""
    left_out = f", lines left out: {refused}" if refused else ""
    return f"Books added: {added.books}, authors added: {added.authors}{left_out}"
