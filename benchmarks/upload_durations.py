"""Measures how long one upload takes, and the CPU time that the server needs for it."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from benchmarks.markdown import median_and_range, print_heading, print_row
from benchmarks.servers import Server
from benchmarks.transfers import SERVICE, UploadBench

FROM_MEMORY: Final = "upload_fileobj from memory"
# A small file is uploaded several times in each round, because one upload takes milliseconds.
MIB_PER_ROUND: Final = 20


@dataclass
class _Durations:
    """The durations of the uploads of one contestant.

    Args:
        seconds: How long each upload took.
        cpu_seconds: The CPU time of the server for one upload, the mean of each round.
    """

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)


def measure_durations(bench: UploadBench, sizes: Sequence[int], rounds: int) -> None:
    """Print how long one upload of each size in MiB takes. The first round is not counted."""
    print_heading("one upload", "seconds", f"relative to {SERVICE}", "CPU of the server, ms")
    with ExitStack() as stack:
        servers = [stack.enter_context(bench.server(name)) for name in bench.service_names]
        for size in sizes:
            durations = _measure_size(bench, servers, size, rounds)
            _print_durations(size, durations)


def _measure_size(
    bench: UploadBench, servers: Sequence[Server], size: int, rounds: int
) -> dict[str, _Durations]:
    """Return the durations of uploads of `size` MiB by contestant. They upload in turns."""
    count = max(1, MIB_PER_ROUND // size)
    for round_number in range(rounds + 1):
        if round_number <= 1:
            # Forget the first round, in which caches are filled.
            durations = {name: _Durations() for name in [*bench.service_names, FROM_MEMORY]}
        for server in servers:
            cpu_seconds = server.cpu_seconds()
            seconds = [bench.upload(server, size) for _ in range(count)]
            cpu_seconds = server.cpu_seconds() - cpu_seconds
            durations[server.name].seconds += seconds
            durations[server.name].cpu_seconds.append(cpu_seconds / count)
            bench.empty()
        durations[FROM_MEMORY].seconds += bench.upload_from_memory(size, count)
        bench.empty()
    return durations


def _print_durations(size: int, durations: dict[str, _Durations]) -> None:
    """Print a row for each contestant."""
    service_seconds = median(durations[SERVICE].seconds)
    for name, contestant in durations.items():
        cpu_cell = ""
        if contestant.cpu_seconds:
            cpu_cell = f"{median(contestant.cpu_seconds) * 1e3:.1f}"
        relative_duration = median(contestant.seconds) / service_seconds
        print_row(
            f"{size} MiB, {name}",
            median_and_range(contestant.seconds),
            f"{relative_duration:.2f}",
            cpu_cell,
        )
