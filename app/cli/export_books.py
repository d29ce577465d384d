"""The command `export books`."""

from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from app.books.schemas import BookQuery, ExportedBookLine
from app.books.service import BookService
from app.cli import runtime
from app.cli.book_files import FormatOption, choose_format
from app.cli.output_files import fail_on_output_error, is_regular_output, open_output
from app.cli.progress_bar import create_progress_bar
from app.core.db import TransactionSession
from app.core.formats import CsvStyle, LineWriter, create_writer
from app.core.read_ahead import read_ahead

group = typer.Typer(help="Export data to files.", no_args_is_help=True)


@group.command(name="books")
def export_books(
    # Without readable=False, typer would refuse a file that can be written but not read.
    file: Annotated[
        Path, typer.Argument(help="The file to write; - for standard output.", readable=False)
    ] = Path("-"),
    file_format: FormatOption = None,
    *,
    bom: Annotated[
        bool,
        typer.Option(
            "--bom", help="Begin a CSV file with a byte order mark, by which Excel knows UTF-8."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write all books to a file that the command import books can read.

    Every line has the author's name, the author's date of birth (dob) and the title of a book. The
    number of books is printed at the end.
    """
    try:
        chosen_format = choose_format(file, file_format, standard_stream_format="csv")
    except ValueError as error:
        runtime.fail(f"cannot write {file}: {error}")
    if bom and chosen_format != "csv":
        runtime.fail("--bom is only for CSV: leave it out for JSON")
    with _failing_on_errors(file), open_output(file, replace=force) as output:
        writer = create_writer(chosen_format, ExportedBookLine, CsvStyle(has_bom=bom))
        book_count = runtime.run_in_transaction(
            lambda session: _write_books(session, output, writer)
        )
        output.flush()
    # The standard output may be the exported file, also as /dev/stdout.
    typer.echo(f"Books exported: {book_count}", err=not is_regular_output(file))


@contextmanager
def _failing_on_errors(file: Path) -> Iterator[None]:
    """End the command if the block cannot write the file."""
    try:
        yield
    except FileExistsError:
        runtime.fail(f"{file} exists: pass --force to replace it, or choose another name")
    except OSError as error:
        fail_on_output_error(file, error)


async def _write_books(session: TransactionSession, output: BinaryIO, writer: LineWriter) -> int:
    """Write all books to an open file, and show the progress on a terminal. Return their number."""
    books = BookService(session)
    # This page is read only for the total number of books, which the progress bar shows.
    first_page = await books.page(BookQuery(count="exact"))
    book_count = 0
    batches = aclosing(read_ahead(books.export_lines()))
    with create_progress_bar() as progress:
        progress_task = progress.add_task("writing", total=first_page.total)
        output.write(writer.header)
        async with batches as book_batches:
            async for book_lines in book_batches:
                output.write(writer.format_lines(book_lines))
                book_count += len(book_lines)
                progress.advance(progress_task, len(book_lines))
        output.write(writer.footer)
    return book_count
