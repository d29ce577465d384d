"""The memory of a server with all its processes, without counting shared pages twice."""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil

_PSS_LINE: Final = re.compile(r"^Pss: +(\d+) kB$", re.MULTILINE)


def shared_memory_bytes(processes: Iterable[psutil.Process]) -> int:
    """Return the proportional set size (PSS) of these processes together.

    Each page counts as its size, divided by the number of processes that have mapped it. Without
    Linux, returns the sum of the resident memory, which counts shared pages more than once.
    """
    total = 0
    for process in processes:
        # A process may have ended since it was listed.
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            total += _process_bytes(process)
    return total


def _process_bytes(process: psutil.Process) -> int:
    """Return the PSS of one process, or its resident memory if the system does not know it."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup")
    if not rollup.exists():
        return int(process.memory_info().rss)
    pss_line = _PSS_LINE.search(rollup.read_text())
    if pss_line is None:
        return 0
    return int(pss_line[1]) * 1024
