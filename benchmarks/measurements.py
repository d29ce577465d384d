"""The rows of the results of a run.

The module uses the standard library only, because the chart is drawn in another environment.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """The size of a run.

    Args:
        rounds: The number of trials of each server and operation.
        seconds: The duration of a trial of the closed loop.
        concurrency: The numbers of connections of the closed loop.
        books: The number of rows of the table of books.
        open_loop_seconds: The duration of a trial of the open loop.
    """

    rounds: int
    seconds: float
    concurrency: Sequence[int]
    books: int
    open_loop_seconds: float = 0.0

    @property
    def usual(self) -> int:
        """The number of connections in the summary: the median of `concurrency`."""
        return sorted(self.concurrency)[len(self.concurrency) // 2]


@dataclass(frozen=True)
class Trial:
    """The measurement of one server and one operation in one round.

    Args:
        rate: Requests per second.
        p50: Median latency in milliseconds.
        p99: 99th percentile of the latency in milliseconds.
        longest: Maximum latency in milliseconds.
        cpu: CPU time of the server per request, in microseconds.
        busy: CPU time of the server in percent of one core. If it is well below 100, something
            else limited the rate.
        memory: Resident memory of the server in MiB, or the PSS of its processes together.
        failures: The number of failed requests by status or reason.
        form: The name of the form of all servers.
    """

    operation: str
    server: str
    concurrency: int
    rate: float
    p50: float
    p99: float
    longest: float
    cpu: float
    busy: float
    memory: float
    failures: dict[str, int]
    form: str = "plain"


@dataclass(frozen=True)
class Registrations:
    """Latencies of reads in milliseconds, alone and while users register.

    `rate` is the number of registrations per second.
    """

    server: str
    alone_p50: float
    alone_p99: float
    p50: float
    p99: float
    longest: float
    rate: float


@dataclass(frozen=True)
class OpenLoopTrial:
    """The latencies in milliseconds of one server at a fixed rate of requests, in one round.

    `capacity` is the rate that the server reached in a closed loop, and `load` the part of it that
    was sent, such as 0.9. `count` is the number of responses.
    """

    server: str
    load: float
    capacity: float
    count: int
    p50: float
    p99: float
    p999: float
    failures: dict[str, int]


@dataclass(frozen=True)
class Memory:
    """The memory of a server with a number of processes, as PSS in MiB."""

    server: str
    processes: int
    pss: float
