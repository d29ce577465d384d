"""Measures reads that arrive at fixed rates, whether or not the server keeps up.

The rates are parts of the rate that the same server reaches in a closed loop, so each server is
compared under the same relative load.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import cycle, islice
from statistics import median
from typing import Final

from benchmarks.experiment import Experiment
from benchmarks.fleet import Entry
from benchmarks.load import LoadJob, LoadResult
from benchmarks.measurements import OpenLoopTrial
from benchmarks.open_loop import OpenLoopJob
from benchmarks.operations import all_operations
from benchmarks.servers import Server

LOADS: Final = (0.5, 0.7, 0.9)
# The connections of the closed loop that measures the capacity. More would not increase it.
CAPACITY_CONNECTIONS: Final = 64
# Requests that arrive while all connections are busy wait in the load generator, and this time is a
# part of their latency.
CONNECTIONS: Final = 128
# The mix of reads: how many of 20 requests are of an operation.
MIX: Final = {"read_book": 10, "read_author": 5, "list_books_0": 3, "list_authors": 2}
# The number of different requests that are sent in turns.
_REQUEST_COUNT: Final = 10_000


def measure_arrivals(experiment: Experiment) -> Iterator[OpenLoopTrial]:
    """Measure the capacity of all servers, then yield a trial of each server, load and round."""
    requests = {}
    for entry in list(experiment.entries):
        contestant, server = entry
        with experiment.keeping_others(contestant):
            requests[server.name] = _mixed_requests(experiment, entry)
    capacities = _measure_capacities(experiment, requests)
    for round_number in range(experiment.plan.rounds):
        for load in LOADS:
            for contestant, server in list(experiment.entries):
                with experiment.keeping_others(contestant):
                    job = OpenLoopJob(
                        server.port,
                        requests[server.name],
                        capacities[server.name] * load,
                        experiment.plan.open_loop_seconds,
                        CONNECTIONS,
                        seed=round_number,
                    )
                    load_result = experiment.load_generator.run_open_loop(job)
                    yield _trial(server, load, capacities[server.name], load_result)


def _mixed_requests(experiment: Experiment, entry: Entry) -> list[bytes]:
    """Return requests of all operations of the mix, which are spread evenly."""
    operations = all_operations(0)
    requests_by_operation = {
        name: cycle(experiment.requests(operations[name], entry)) for name in MIX
    }
    names = [name for name, count in MIX.items() for _ in range(count)]
    # A step that has no common divisor with the length visits all names, and separates equal ones.
    spread_names = [names[index * 7 % len(names)] for index in range(len(names))]
    return [
        next(requests_by_operation[name]) for name in islice(cycle(spread_names), _REQUEST_COUNT)
    ]


def _measure_capacities(
    experiment: Experiment, requests: dict[str, list[bytes]]
) -> dict[str, float]:
    """Return the requests per second of each server in a closed loop, as the median of all rounds.

    The first round warms the servers up.
    """
    rates: dict[str, list[float]] = defaultdict(list)
    for round_number in range(experiment.plan.rounds + 1):
        for contestant, server in list(experiment.entries):
            with experiment.keeping_others(contestant):
                load_result = experiment.load_generator.run(
                    LoadJob(
                        server.port,
                        requests[server.name],
                        CAPACITY_CONNECTIONS,
                        experiment.plan.seconds,
                    )
                )
                if load_result.failures:
                    raise RuntimeError(f"failed requests: {dict(load_result.failures)}")
                if round_number > 0:
                    rates[server.name].append(load_result.rate)
    return {name: median(server_rates) for name, server_rates in rates.items()}


def _trial(server: Server, load: float, capacity: float, load_result: LoadResult) -> OpenLoopTrial:
    """Return the measurement of one server at one rate."""
    return OpenLoopTrial(
        server=server.name,
        load=load,
        capacity=capacity,
        count=len(load_result.latencies),
        p50=load_result.percentile(50) * 1e3,
        p99=load_result.percentile(99) * 1e3,
        p999=load_result.percentile(99.9) * 1e3,
        failures=dict(load_result.failures),
    )
