"""Assigns the servers, the load generator and Postgres to different CPU cores, on Linux."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

Cores = frozenset[int]


@dataclass(frozen=True)
class CoreLayout:
    """One core for the server, one for the load generator, and all others for Postgres.

    On a machine with two cores, Postgres and the load generator share one. The server never shares
    its core.
    """

    server: Cores
    load: Cores
    database: Cores


def choose_layout() -> CoreLayout:
    """Return the layout for this machine. The sets are empty if processes cannot be pinned."""
    if sys.platform != "linux":
        return CoreLayout(Cores(), Cores(), Cores())
    first, *other_cores = sorted(os.sched_getaffinity(0))
    load = other_cores[:1] or [first]
    return CoreLayout(Cores([first]), Cores(load), Cores(other_cores[1:] or load))


def pin(cores: Cores) -> None:
    """Restrict this process, and the processes that it starts, to these cores."""
    if sys.platform == "linux" and cores:
        os.sched_setaffinity(0, cores)


@contextmanager
def pinned(cores: Cores) -> Iterator[None]:
    """Restrict the processes that are started in the block to these cores."""
    previous_cores = Cores()
    if sys.platform == "linux":
        previous_cores = Cores(os.sched_getaffinity(0))
    pin(cores)
    try:
        yield
    finally:
        pin(previous_cores)
