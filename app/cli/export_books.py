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
from app.cli.progress_bar import progress_bar
from app.core.formats import Format, create_writer

group = typer.Typer(help="Write data to files.", no_args_is_help=True)


@group.command(name="books")
def export_books(
    # Typer refuses an unreadable file by default, but this one is only written.
    file: Annotated[Path, typer.Argument(help="Where to; - for stdout.", readable=False)] = Path(
        "-"
    ),
    file_format: FormatOption = None,
) -> None:
    """Write all books to a file as import takes them: author, dob and title."""
    chosen_format = choose_format(file, file_format, default="csv")
    try:
        with _open_target(file) as target:
            _export(target, chosen_format)
            target.flush()
    except OSError as error:
        # Python flushes standard output once more when it exits, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # The reader has read enough, as in: export books | head
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(1) from None
        runtime.fail(f"cannot write {file}: {error.strerror}")


@contextmanager
def _open_target(file: Path) -> Iterator[BinaryIO]:
    """Open the file to write. A regular file appears under its name only when it is complete."""
    if is_standard_stream(file):
        yield sys.stdout.buffer
        return
    is_device_or_pipe = file.exists() and not file.is_file()
    if is_device_or_pipe:
        with file.open("wb") as target:
            yield target
        return
    draft = file.with_name(f"{file.name}.part")
    try:
        with draft.open("wb") as target:
            yield target
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def _export(target: BinaryIO, file_format: Format) -> None:
    with runtime.prepare(runtime.with_database, quiet=True) as settings, progress_bar() as progress:

        async def work() -> None:
            async with runtime.transaction(settings) as session:
                books = BookService(session)
                page = await books.page(BookQuery())
                task = progress.add_task("writing", total=page.total)
                writer = create_writer(file_format, BookLine)
                target.write(writer.header)
                async for items in books.export_lines():
                    target.write(writer.format_lines(items))
                    progress.advance(task, len(items))

        runtime.run(work())
