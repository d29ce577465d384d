"""Write the result of a command to a file, a device, a pipe or standard output."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from shutil import copymode
from typing import BinaryIO, Final, NoReturn

import typer

from app import NAME
from app.cli import runtime
from app.cli.book_files import is_standard_stream

# Files of these directories stand for open files of the process. `/dev/stdout` is one of them, even
# if the shell has redirected standard output to a regular file.
_DESCRIPTOR_PATHS: Final = ("/dev/std", "/dev/fd/", "/proc/")


def is_regular_output(file: Path) -> bool:
    """Return whether a file argument names a regular file, which may not exist yet.

    Returns False for `-`, devices such as `/dev/null`, and named pipes.
    """
    if is_standard_stream(file) or str(file.absolute()).startswith(_DESCRIPTOR_PATHS):
        return False
    return file.is_file() or not file.exists()


@contextmanager
def open_output(file: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Open a file, device, pipe or standard output (`-`) for writing.

    A regular file is written under another name in the same directory, and renamed when the block
    ends. If the block fails, nothing is left of it, and an existing file does not change. Raises
    `FileExistsError` if the file exists, unless `replace` is set.
    """
    if is_standard_stream(file):
        yield sys.stdout.buffer
    elif is_regular_output(file):
        # Replace the file to which a symbolic link leads, and not the link. `Path.resolve` does not
        # accept a link that leads to itself.
        target = Path(os.path.realpath(file))
        with _open_temporary_file(target, replace=replace) as output:
            yield output
    else:
        with file.open("wb") as output:
            yield output


def fail_on_output_error(file: Path, error: OSError) -> NoReturn:
    """End the command after an error of the file, device, pipe or standard output (`-`)."""
    # Python flushes standard output once more when it exits, which would fail again. Redirect the
    # rest of the output to /dev/null.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    # The reading process has exited, as in `export books | head`.
    if isinstance(error, BrokenPipeError):
        raise typer.Exit(1) from None
    runtime.fail(f"cannot write {file}: {error.strerror}")


@contextmanager
def _open_temporary_file(file: Path, *, replace: bool) -> Iterator[BinaryIO]:
    """Open a new file for writing, and rename it to `file` when the block ends.

    It has the permissions of the file that it replaces, otherwise those of every new file.
    """
    _check_existing_file(file, replace=replace)
    temporary_file = file.with_name(f".{NAME}-{token_hex(8)}.part")
    try:
        with temporary_file.open("xb") as output:
            if file.exists():
                # Before the first byte is written, because others may not be allowed to read it.
                copymode(file, temporary_file)
            yield output
        # Check again, because the file may have been created during a long export.
        _check_existing_file(file, replace=replace)
        temporary_file.replace(file)
    finally:
        temporary_file.unlink(missing_ok=True)


def _check_existing_file(file: Path, *, replace: bool) -> None:
    """Raise `FileExistsError` if a file exists and must not be replaced."""
    if not replace and file.exists():
        raise FileExistsError
