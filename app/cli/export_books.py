"""The command `export books`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from app.books.schemas import BookLine, BookQuery
from app.books.service import BookService
from app.cli import runtime
from app.cli.book_files import FormatOption, choose_format, is_standard_stream
from app.cli.progress_bar import create_progress_bar
from app.core.db import TransactionSession
from app.core.formats import Format, create_writer

group = typer.Typer(help="Export data to files.", no_args_is_help=True)


@group.command(name="books")
def export_books(
    # Without readable=False, typer would refuse a file that can be written but not read.
    file: Annotated[
        Path, typer.Argument(help="The file to write; - for standard output.", readable=False)
    ] = Path("-"),
    file_format: FormatOption = None,
) -> None:
    """Write all books to a file that the command import books can read.

    Every line has the author's name, the author's date of birth (dob) and the title of a book.
    """
    chosen_format = choose_format(file, file_format, standard_stream_format="csv")
    try:
        with _open_output(file) as output:
            runtime.run_in_transaction(lambda session: _write_books(session, output, chosen_format))
            output.flush()
    except OSError as error:
        # Python flushes standard output once more when it exits, which would fail again. Redirect
        # the rest of the output to /dev/null.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # The reading process has exited, as in `export books | head`.
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(1) from None
        runtime.fail(f"cannot write {file}: {error.strerror}")


@contextmanager
def _open_output(file: Path) -> Iterator[BinaryIO]:
    """Open a file, device, pipe or standard output (`-`) for writing.

    A regular file is first written as `NAME.part`, and renamed to `NAME` when the block ends. If
    the block fails, the part is deleted, and an existing file `NAME` does not change.
    """
    if is_standard_stream(file):
        yield sys.stdout.buffer
        return

    is_device_or_pipe = file.exists() and not file.is_file()
    if is_device_or_pipe:
        with file.open("wb") as output:
            yield output
        return

    partial_file = file.with_name(f"{file.name}.part")
    try:
        with partial_file.open("wb") as output:
            yield output
        partial_file.replace(file)
    finally:
        partial_file.unlink(missing_ok=True)


async def _write_books(session: TransactionSession, output: BinaryIO, file_format: Format) -> None:
    """Write all books to an open file, and show the progress on a terminal."""
    books = BookService(session)
    # This page is read only for the total number of books, which the progress bar shows.
    first_page = await books.page(BookQuery())
    writer = create_writer(file_format, BookLine)
    with create_progress_bar() as progress:
        progress_task = progress.add_task("writing", total=first_page.total)
        output.write(writer.header)
        async for book_lines in books.export_lines():
            output.write(writer.format_lines(book_lines))
            progress.advance(progress_task, len(book_lines))
