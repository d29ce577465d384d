"""The command `documents verify`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from app.cli import runtime
from app.cli.output_files import fail_on_output_error
from app.cli.progress_bar import create_progress_bar
from app.core.db import Database
from app.core.errors import Unavailable
from app.core.field_errors import validation_error_message
from app.core.formats import create_writer
from app.core.instants import Instant
from app.core.storage import Storage, StoreFailed
from app.documents.verification import FileProblem, FileUndeleter, FileVerifier, VerifiedPage
from app.settings import Settings

if TYPE_CHECKING:
    from rich.progress import Progress

group = typer.Typer(help="Verify the files of documents.", no_args_is_help=True)


@group.command()
def verify(
    undelete: Annotated[
        str | None,
        typer.Option(
            metavar="MOMENT",
            help="Undelete missing files that were deleted at this time or later, in a bucket that"
            " keeps versions. For example 2026-11-29T14:00:00+02:00.",
        ),
    ] = None,
    *,
    checksums: Annotated[
        bool,
        typer.Option(
            "--checksums", help="Also read all files whose SHA-256 is known, and compare it."
        ),
    ] = False,
) -> None:
    """Check that the object store has the files of all documents.

    A line of JSON is printed for each document whose file is missing, or has another size or
    SHA-256: {"id":"...","name":"...","key":"documents/...","reason":"missing"}. The exit code is
    then 1. The command can be used while the service is running.
    """
    moment = None
    if undelete is not None:
        moment = _parse_moment(undelete)
    settings = runtime.load_settings(quiet=True)
    summary = _Summary()
    with (
        runtime.prepare_database(settings) as database_settings,
        runtime.provide_object_store(database_settings) as complete_settings,
        _failing_on_output_errors(),
    ):
        runtime.run_or_fail(_verify(complete_settings, moment, summary, checksums=checksums))
    typer.echo(summary, err=True)
    if summary.problems > 0:
        raise typer.Exit(1)


def _parse_moment(text: str) -> datetime:
    """Return the time of the option `--undelete`. End the command if it is invalid."""
    try:
        moment = TypeAdapter(Instant).validate_python(text)
    except ValidationError as error:
        [field_error] = error.errors()
        runtime.fail(f"--undelete: {validation_error_message(field_error)}")
    if moment > datetime.now(UTC):
        runtime.fail("--undelete: Must not be in the future, because nothing was deleted then")
    return moment


class _Summary:
    """Counts the files that were verified, and describes the result."""

    def __init__(self) -> None:
        self.verified = 0
        self.undeleted = 0
        self.problems = 0

    def add(self, page: VerifiedPage) -> None:
        """Add the numbers of a page of files."""
        self.verified += page.verified_files
        self.undeleted += page.undeleted_files
        self.problems += len(page.problems)

    def __str__(self) -> str:
        """Return a summary such as "Files verified: 3, undeleted: 2, missing or different: 1"."""
        summary = f"Files verified: {self.verified}"
        if self.undeleted > 0:
            summary += f", undeleted: {self.undeleted}"
        return f"{summary}, missing or different: {self.problems}"


async def _verify(
    settings: Settings, moment: datetime | None, summary: _Summary, *, checksums: bool
) -> None:
    """Verify all files, print the problems, and show the progress on a terminal.

    Undeletes missing files if there is a moment. Adds the results to the summary.
    """
    database = Database(settings, reserve_reads=False)
    storage = Storage(settings)
    undeleter = None
    try:
        # Without a bucket, this raises an error. Otherwise, all files would seem to be missing.
        await storage.list_objects(settings.s3_prefix, after_key="")
        if moment is not None:
            undeleter = FileUndeleter(database.reads, storage, moment)
            await undeleter.require_versions()
        verifier = FileVerifier(database.reads, storage, undeleter, with_checksums=checksums)
        writer = create_writer("jsonl", FileProblem)
        with create_progress_bar() as progress:
            progress_task = progress.add_task("verifying", total=await verifier.count_files())
            async for page in verifier.verify():
                summary.add(page)
                _print_lines(writer.format_lines(page.problems), progress)
                progress.advance(progress_task, page.verified_files)
    except Unavailable as error:
        raise Unavailable(_describe_interruption(error, summary)) from error
    finally:
        await database.close()
        storage.close()


def _print_lines(lines: bytes, progress: "Progress") -> None:
    """Write lines to standard output, above the progress bar if both are on the terminal."""
    if sys.stdout.isatty() and not progress.disable:
        progress.console.print(lines.decode(), end="", markup=False, soft_wrap=True)
        return
    # While the bar is shown, `sys.stdout` writes to the terminal, but its buffer does not.
    sys.stdout.buffer.write(lines)
    sys.stdout.buffer.flush()


def _describe_interruption(error: Unavailable, summary: _Summary) -> str:
    """Return the message of an error, and how far the command has come.

    For example "object store: does not accept connections. Files verified: 2000, missing or
    different: 0. Run the command again."
    """
    message = str(error)
    if isinstance(error, StoreFailed):
        # The message of the error is for clients.
        message = f"object store: {error.reason}"
    if summary.verified > 0:
        message += f". {summary}. Run the command again."
    return message


@contextmanager
def _failing_on_output_errors() -> Iterator[None]:
    """End the command if the block cannot write to standard output."""
    try:
        yield
    except OSError as error:
        fail_on_output_error(Path("-"), error)
