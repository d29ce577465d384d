"""Read the lines of an input file, report invalid lines, and show the progress."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Generic, TypeVar

from pydantic import BaseModel

from app.cli.book_files import is_standard_stream
from app.core.formats import Format, InvalidLine, ReadOptions, parse_lines

if TYPE_CHECKING:
    from rich.progress import Progress

LINES_PER_PROGRESS_UPDATE: Final = 1000
ModelT = TypeVar("ModelT", bound=BaseModel)


class InvalidLinesError(Exception):
    """Raised in strict mode to roll back the import of a file that has invalid lines."""


@dataclass(frozen=True)
class InputFile:
    """An open file to import. Messages call it `label`, for example `books.csv`."""

    file: BinaryIO
    label: str
    format: Format
    options: ReadOptions


class LineReader(Generic[ModelT]):
    """Reads the lines of a file as instances of a model.

    `invalid_line_count` is the number of lines that were invalid so far.
    """

    def __init__(self, model: type[ModelT], input_file: InputFile, progress: "Progress") -> None:
        """Create a reader of an open file, and a task that shows its progress in `progress`."""
        self._model = model
        self._input = input_file
        self._file = input_file.file
        self._progress = progress
        # A pipe has no size, so its progress is shown without a percentage.
        size_in_bytes = None
        if self._file.seekable():
            size_in_bytes = os.fstat(self._file.fileno()).st_size
        self._progress_task = progress.add_task("reading", total=size_in_bytes)
        self.invalid_line_count = 0

    def read_valid_lines(self, *, strict: bool) -> Iterator[ModelT]:
        """Yield the valid lines of the file. Report each invalid line on standard error.

        If `strict` is set, the lines below an invalid one are only checked, because nothing will be
        imported.

        Raises `InvalidLinesError` after the last line if `strict` is set and any line was invalid,
        and `ValueError` if the file cannot be read.
        """
        parsed_lines = parse_lines(self._input.format, self._model, self._file, self._input.options)
        for line_count, parsed_line in enumerate(parsed_lines, 1):
            if isinstance(parsed_line, InvalidLine):
                self.invalid_line_count += 1
                self._report_invalid_line(parsed_line)
            elif not strict or self.invalid_line_count == 0:
                yield parsed_line.item
            if line_count % LINES_PER_PROGRESS_UPDATE == 0:
                self._show_progress(line_count)
        if strict and self.invalid_line_count > 0:
            raise InvalidLinesError

    def _show_progress(self, line_count: int) -> None:
        """Show how many bytes of a regular file, or how many lines of a pipe, have been read."""
        completed = line_count
        if self._file.seekable():
            completed = self._file.tell()
        self._progress.update(self._progress_task, completed=completed)

    def _report_invalid_line(self, invalid_line: InvalidLine) -> None:
        """Print a message above the progress bar.

        For example, "books.csv, line 3: has 2 values instead of 3".
        """
        report = f"{self._input.label}, line {invalid_line.line_number}: "
        report += invalid_line.error_message
        self._progress.console.print(make_printable(report), markup=False, soft_wrap=True)


@contextmanager
def open_input(file: Path) -> Iterator[BinaryIO]:
    """Open a file or standard input (`-`) for reading. Close the file when the block ends."""
    if is_standard_stream(file):
        yield sys.stdin.buffer
        return
    with file.open("rb") as open_file:
        yield open_file


def label_input(file: Path) -> str:
    """Return what messages call a file argument: its path, or "standard input"."""
    if is_standard_stream(file):
        return "standard input"
    return str(file)


def make_printable(message: str) -> str:
    """Replace unprintable characters by question marks.

    A message may quote the file, whose control characters could change the terminal.
    """
    return "".join(character if character.isprintable() else "?" for character in message)
