"""Measures one operation of all servers with connections that each wait for their responses."""

import asyncio
from collections.abc import Iterator, Sequence
from time import monotonic, sleep
from typing import Final

from benchmarks import dataset
from benchmarks.experiment import Experiment
from benchmarks.fleet import Entry
from benchmarks.load import LoadJob
from benchmarks.measurements import Trial
from benchmarks.operations import Operation
from benchmarks.results import LIMIT, SERVICE
from benchmarks.servers import Server
from benchmarks.trials import WARM_UP_SECONDS

# The maximum time until a row is in the table. Some servers respond before they commit.
COMMIT_TIMEOUT_SECONDS: Final = 5.0
# The servers and operations that are measured with other numbers of connections too.
MAIN_SERVERS: Final = (SERVICE, "tutorial", "Fastify", LIMIT)
MAIN_OPERATIONS: Final = ("read_book", "list_authors", "create_author")


def run_trials(experiment: Experiment, operation: Operation) -> Iterator[Trial]:
    """Warm up all servers, and yield a trial of each server in every round."""
    requests_by_server = {}
    for entry in list(experiment.entries):
        contestant, server = entry
        with experiment.keeping_others(contestant):
            requests = experiment.requests(operation, entry)
            requests_by_server[server.name] = requests
            _warm_up(experiment, operation, server, requests)
    for concurrency in experiment.plan.concurrency:
        for _ in range(experiment.plan.rounds):
            for contestant, server in _measured_entries(experiment, operation, concurrency):
                with experiment.keeping_others(contestant):
                    requests = requests_by_server[server.name]
                    yield _run_trial(experiment, operation, server, requests, concurrency)


def _measured_entries(
    experiment: Experiment, operation: Operation, concurrency: int
) -> Sequence[Entry]:
    """Return the servers that are measured with a number of connections."""
    entries = list(experiment.entries)
    if concurrency == experiment.plan.usual:
        return entries
    if experiment.form.is_production or operation.name not in MAIN_OPERATIONS:
        return []
    return [entry for entry in entries if entry[0].name in MAIN_SERVERS]


def _warm_up(
    experiment: Experiment, operation: Operation, server: Server, requests: list[bytes]
) -> None:
    """Send requests before the first trial, with as many connections as in any trial."""
    _restore_authors(experiment, operation)
    connections = max(experiment.plan.concurrency)
    seconds = min(WARM_UP_SECONDS, experiment.plan.seconds)
    experiment.load_generator.run(
        LoadJob(server.port, requests, connections, seconds, operation.send_once)
    )


def _run_trial(
    experiment: Experiment,
    operation: Operation,
    server: Server,
    requests: list[bytes],
    concurrency: int,
) -> Trial:
    """Measure one operation of one server, and check that its writes were committed."""
    author_count = _restore_authors(experiment, operation)
    lines_before = server.log.line_count if server.log else 0
    cpu_before = server.cpu_seconds()
    load_result = experiment.load_generator.run(
        LoadJob(server.port, requests, concurrency, experiment.plan.seconds, operation.send_once)
    )
    cpu_seconds = server.cpu_seconds() - cpu_before
    response_count = len(load_result.latencies)
    failures = dict(load_result.failures)
    author_count += operation.authors_added * response_count
    if operation.writes and not _wait_for_author_count(experiment.url, author_count):
        failures["acknowledged, but not in the table"] = 1
    if server.log and not server.log.wait_for_lines(lines_before + response_count):
        failures["responses without a line in the log"] = 1
    memory_bytes = server.memory_bytes()
    if experiment.form.processes > 1:
        memory_bytes = server.shared_memory_bytes()
    return Trial(
        operation=operation.name,
        server=server.name,
        concurrency=concurrency,
        rate=load_result.rate,
        p50=load_result.percentile(50) * 1e3,
        p99=load_result.percentile(99) * 1e3,
        longest=load_result.percentile(100) * 1e3,
        cpu=cpu_seconds / max(response_count, 1) * 1e6,
        busy=cpu_seconds / load_result.seconds * 100,
        memory=memory_bytes / 2**20,
        failures=failures,
        form=experiment.form.name,
    )


def _restore_authors(experiment: Experiment, operation: Operation) -> int:
    """Undo the writes of earlier trials, and return the number of authors.

    Does nothing and returns 0 if the operation does not write.
    """
    if not operation.writes:
        return 0
    asyncio.run(dataset.restore_authors(experiment.url, operation.spare_authors))
    return dataset.AUTHOR_COUNT + operation.spare_authors


def _wait_for_author_count(url: str, author_count: int) -> bool:
    """Wait until the table has `author_count` authors. Return False after a timeout."""
    deadline = monotonic() + COMMIT_TIMEOUT_SECONDS
    while asyncio.run(dataset.count_authors(url)) != author_count:
        if monotonic() > deadline:
            return False
        sleep(0.01)
    return True
