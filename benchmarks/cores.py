"""Who runs on which core, where the operating system lets us say so (Linux does)."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

Cores = frozenset[int]


@dataclass(frozen=True)
class CoreLayout:
    """A core for the servers, one for the load generator, and all others for Postgres.

    With two cores Postgres shares the load generator's: the server under test never shares its.
    """

    server: Cores
    load: Cores
    database: Cores


def choose_layout() -> CoreLayout:
    """The layout of this machine's cores; empty sets where nobody can be pinned."""
    if sys.platform != "linux":
        return CoreLayout(Cores(), Cores(), Cores())
    first, *others = sorted(os.sched_getaffinity(0))
    load = others[:1] or [first]
    return CoreLayout(Cores([first]), Cores(load), Cores(others[1:] or load))


def pin(cores: Cores) -> None:
    """Keep this process, and those it will start, on these cores."""
    if sys.platform == "linux" and cores:
        os.sched_setaffinity(0, cores)


@contextmanager
def pinned(cores: Cores) -> Iterator[None]:
    """What the block starts stays on these cores; we ourselves return to ours."""
    before = Cores(os.sched_getaffinity(0)) if sys.platform == "linux" else Cores()
    pin(cores)
    try:
        yield
    finally:
        pin(before)
