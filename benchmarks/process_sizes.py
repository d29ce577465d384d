"""Measures the memory of a server with several numbers of processes.

What an additional process takes is the slope: pages that processes share are divided among them.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from benchmarks.contestants import CONTESTANTS
from benchmarks.dataset import Dataset
from benchmarks.fleet import Site, running_contestant
from benchmarks.forms import PRODUCTION
from benchmarks.load import LoadJob
from benchmarks.measurements import Memory
from benchmarks.operations import all_operations
from benchmarks.results import SERVICE
from benchmarks.trials import LoadGenerator
from benchmarks.wire import add_token

SERVERS: Final = (SERVICE, "tutorial")
PROCESS_COUNTS: Final = (1, 2, 4)
# The load before the measurement, which opens connections several times, so that all processes
# accept some of them.
_CONNECTIONS: Final = 64
_LOADS: Final = 3
_SECONDS: Final = 0.7


def measure_process_sizes(
    site: Site, data: Dataset, load_generator: LoadGenerator
) -> Iterator[Memory]:
    """Run each server alone with each number of processes, and yield its memory under load."""
    read_book = all_operations(0)["read_book"]
    for contestant in CONTESTANTS:
        if contestant.name not in SERVERS:
            continue
        for processes in PROCESS_COUNTS:
            form = replace(PRODUCTION, processes=processes)
            with running_contestant(site, form, contestant, site.url) as server:
                requests = read_book.requests(contestant, server, data)
                authorized = [add_token(request, site.token) for request in requests]
                for _ in range(_LOADS):
                    load_generator.run(LoadJob(server.port, authorized, _CONNECTIONS, _SECONDS))
                pss = server.shared_memory_bytes() / 2**20
            yield Memory(contestant.name, processes, pss)
