"""Measures reads while other connections send `POST /users`, which hashes a password.

This service is compared with the tutorial, which hashes in the request handler with the defaults of
its library.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Final
from uuid import uuid4

from benchmarks.experiment import Experiment
from benchmarks.load import LoadJob
from benchmarks.measurements import Registrations
from benchmarks.servers import Server
from benchmarks.wire import encode_request

SERVERS: Final = ("bookshelf", "tutorial")
READ_CONNECTIONS: Final = 4
REGISTRATION_CONNECTIONS: Final = 4
# A measurement takes this many times as long as other trials, because hashing is slow.
DURATION_FACTOR: Final = 3
# More than any server reaches, so that the requests are never used up.
MAX_REGISTRATIONS_PER_SECOND: Final = 300


def measure_registrations(experiment: Experiment) -> Iterator[Registrations]:
    """Measure both servers in turns, in as many rounds as the other operations."""
    reads = [encode_request(f"GET /books/{book}") for book in experiment.data.book_ids]
    seconds = experiment.plan.seconds * DURATION_FACTOR
    for _ in range(experiment.plan.rounds):
        for contestant, server in list(experiment.entries):
            if contestant.name in SERVERS:
                with experiment.keeping_others(contestant):
                    yield _measure_server(experiment, server, reads, seconds)


def _measure_server(
    experiment: Experiment, server: Server, reads: Sequence[bytes], seconds: float
) -> Registrations:
    """Measure reads alone, then reads and registrations at the same time."""
    read_job = LoadJob(server.port, list(reads), READ_CONNECTIONS, seconds)
    users = [_registration_request() for _ in range(int(seconds * MAX_REGISTRATIONS_PER_SECOND))]
    registration_job = LoadJob(
        server.port, users, REGISTRATION_CONNECTIONS, seconds, send_once=True
    )
    reads_alone = experiment.load_generator.run(read_job)
    reads_with_registrations, registrations = experiment.load_generator.run_concurrently(
        read_job, registration_job
    )
    for load_result in (reads_alone, reads_with_registrations, registrations):
        if load_result.failures:
            raise RuntimeError(f"{server.name}: {load_result.failures}")
    return Registrations(
        server=server.name,
        alone_p50=reads_alone.percentile(50) * 1e3,
        alone_p99=reads_alone.percentile(99) * 1e3,
        p50=reads_with_registrations.percentile(50) * 1e3,
        p99=reads_with_registrations.percentile(99) * 1e3,
        longest=reads_with_registrations.percentile(100) * 1e3,
        rate=registrations.rate,
    )


def _registration_request() -> bytes:
    """Return a request that registers a user with a new email address."""
    user = {"name": "Ada", "email": f"{uuid4()}@example.com", "password": "correct horse"}
    return encode_request("POST /users", json.dumps(user).encode())
