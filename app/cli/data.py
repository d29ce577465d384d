"""The commands that bring data in and out."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Final

import typer

from app.books import service
from app.books.schemas import BookLine, BookQuery, Imported
from app.cli import start
from app.core.formats import Format, create_writer, parse_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

CATALOGUE: Final = Path(service.__file__).with_name("catalogue.csv")
REFUSED: Final = 3  # the exit code of an import that left lines out
STEP: Final = 1000  # lines between two looks at the progress
imports = typer.Typer(help="Bring data in from files.", no_args_is_help=True)
exports = typer.Typer(help="Write data to files.", no_args_is_help=True)


class Formats(StrEnum):
    """How a file is written."""

    csv = "csv"
    jsonl = "jsonl"


FormatOption = Annotated[Formats | None, typer.Option("--format", help="Else by the file's name.")]


class Refused(Exception):
    """Lines of a file are wrong, and all or nothing was asked for."""


class Reading:
    """Lines on their way into the database; those that are wrong are told of on standard error."""

    def __init__(self, file: BinaryIO, form: Format, console: "Console") -> None:
        self._file, self._form, self._console, self.refused = file, form, console, 0

    def good(self, *, strict: bool, look: Callable[[int], None]) -> Iterator[BookLine]:
        """The good ones. With `strict` it is an error at the end when there were others."""
        done = 0
        lines = parse_lines(self._form, BookLine, self._file)
        for done, (number, line) in enumerate(lines, 1):
            if isinstance(line, str):
                self.refused += 1
                shown = "".join(c if c.isprintable() else "?" for c in line)
                self._console.print(f"line {number}: {shown}", markup=False, soft_wrap=True)
            else:
                yield line
            if done % STEP == 0:
                look(self._file.tell() if self._file.seekable() else done)
        if strict and self.refused:
            raise Refused


def seed() -> None:
    """Add a small catalogue of real books; those already there stay as they are."""
    with CATALOGUE.open("rb") as file:
        added, _ = _import(file, "csv", strict=True)
    typer.echo(_summary(added))


@imports.command(name="books")
def import_books(
    file: Annotated[Path, typer.Argument(help="A file of author, dob and title; - for stdin.")],
    form: FormatOption = None,
    *,
    strict: Annotated[bool, typer.Option(help="All of the file or nothing.")] = False,
) -> None:
    """Add the books of a file, with their authors; those already there stay as they are.

    Lines that are wrong are named and left out: the exit code is 3 then, and 1 with --strict.
    """
    chosen = _format(file, form)
    try:
        with nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as source:
            added, refused = _import(source, chosen, strict=strict)
    except OSError as error:
        start.fail(f"cannot read {file}: {error.strerror}")
    except ValueError as error:
        start.fail(f"cannot read {file}: {error}")
    except Refused:
        start.fail("nothing was added")
    typer.echo(_summary(added, refused))
    raise typer.Exit(REFUSED if refused else 0)


@exports.command(name="books")
def export_books(
    file: Annotated[Path, typer.Argument(help="Where to; - for stdout.")] = Path("-"),
    form: FormatOption = None,
) -> None:
    """Write all books to a file as import takes them: author, dob and title."""
    chosen = _format(file, form, "csv")
    try:
        with _target(file) as target:
            _export(target, chosen)
            target.flush()
    except OSError as error:
        # What the buffer still holds would fail once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # as in: export books | head
            raise typer.Exit(1) from None
        start.fail(f"cannot write {file}: {error.strerror}")


def _format(file: Path, given: Formats | None, default: Format | None = None) -> Format:
    kinds: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    found = (
        given.value
        if given
        else kinds.get(file.suffix.lower(), default if str(file) == "-" else None)
    )
    return found or start.fail(f"cannot tell the format of {file}: give --format csv or jsonl")


@contextmanager
def _target(file: Path) -> Iterator[BinaryIO]:
    """A file that is there when it is whole."""
    if str(file) == "-":
        yield sys.stdout.buffer
        return
    if file.exists() and not file.is_file():
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


def _import(file: BinaryIO, form: Format, *, strict: bool) -> tuple[Imported, int]:
    """What was added, and how many lines were left out."""
    with start.ready(start.database, quiet=True) as connected, _progress() as progress:
        size = os.fstat(file.fileno()).st_size if file.seekable() else None
        task = progress.add_task("reading", total=size)
        reading = Reading(file, form, progress.console)

        def lines() -> Iterable[BookLine]:
            yield from reading.good(
                strict=strict, look=lambda done: progress.update(task, completed=done)
            )
            progress.update(task, description="merging", total=None)

        async def work() -> Imported:
            async with start.transaction(connected) as session:
                return await service.BookService(session).import_lines(lines())

        return start.run(work()), reading.refused


def _export(target: BinaryIO, form: Format) -> None:
    with start.ready(start.database, quiet=True) as connected, _progress() as progress:

        async def work() -> None:
            async with start.transaction(connected) as session:
                books = service.BookService(session)
                total = (await books.page(BookQuery())).total
                task = progress.add_task("writing", total=total)
                writer = create_writer(form, BookLine)
                target.write(writer.header)
                async for items in books.export_lines():
                    target.write(writer.format_lines(items))
                    progress.advance(task, len(items))

        start.run(work())


def _progress() -> "Progress":
    """A bar on standard error, where that is a terminal."""
    # Here, for a server knows this module and never draws one.
    from rich import progress  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    console = Console(stderr=True, highlight=False, emoji=False)
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TimeElapsedColumn(),
    )
    return progress.Progress(
        *columns, console=console, disable=not sys.stderr.isatty(), transient=True
    )


def _summary(added: Imported, refused: int = 0) -> str:
    """What an import did, in a line."""
    left_out = f", lines left out: {refused}" if refused else ""
    return f"Books added: {added.books}, authors added: {added.authors}{left_out}"
