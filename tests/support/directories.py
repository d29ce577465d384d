"""Temporary directories of the servers that tests start, in memory if there is room."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

# The file system in memory that Linux has.
_MEMORY: Final = Path("/dev/shm")
_PREFIX: Final = "bookshelf-test-"
# The databases and objects of all tests need about a quarter of this.
_MIN_FREE_BYTES: Final = 4 * 2**30


@contextmanager
def server_directory() -> Iterator[Path]:
    """Yield a directory for the data of a server, which is removed when the block ends.

    Copying a database creates 400 files. In memory, this takes a tenth of the CPU time.
    """
    _remove_abandoned_directories()
    parent = _MEMORY if _has_room_in_memory() else None
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", dir=parent) as name:
        directory = Path(name).resolve()
        # The server may run as another user, who must be able to enter the directory.
        directory.chmod(0o755)
        yield directory


def _has_room_in_memory() -> bool:
    """Return whether the data fit into memory. By default, a container has 64 MiB for files."""
    if not _MEMORY.is_dir():
        return False
    available_memory: int = psutil.virtual_memory().available
    return min(shutil.disk_usage(_MEMORY).free, available_memory) >= _MIN_FREE_BYTES


def _remove_abandoned_directories() -> None:
    """Remove the directories in memory of test runs that were killed.

    The name of a directory contains the id of its process, for example
    `bookshelf-test-4711-x7q2m0ka`.
    """
    for directory in _MEMORY.glob(f"{_PREFIX}*-*"):
        process_id = directory.name.removeprefix(_PREFIX).partition("-")[0]
        if process_id.isdecimal() and not psutil.pid_exists(int(process_id)):
            shutil.rmtree(directory, ignore_errors=True)
