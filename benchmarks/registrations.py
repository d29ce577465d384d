"""What registrations do to everybody else: reads beside `POST /users`, whose passwords are hashed.

Ours beside the tutorial's, which hashes in the handler with its library's defaults.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Final
from uuid import uuid4

from benchmarks.load import LoadJob
from benchmarks.results import Registrations
from benchmarks.servers import Server
from benchmarks.trials import Experiment
from benchmarks.wire import encode_request

SERVERS: Final = ("bookshelf", "tutorial")
READ_CONNECTIONS: Final = 4  # connections
REGISTRATION_CONNECTIONS: Final = 4  # connections
DURATION_FACTOR: Final = 3  # times the length of another trial: a hash takes a while
MAX_REGISTRATIONS_PER_SECOND: Final = 300  # registrations a second


def measure_registrations(experiment: Experiment) -> Iterator[Registrations]:
    """By turns, as many rounds as of everything else."""
    reads = [encode_request(f"GET /books/{book}") for book in experiment.data.books]
    seconds = experiment.plan.seconds * DURATION_FACTOR
    for _ in range(experiment.plan.rounds):
        for who, server in experiment.servers:
            if who.name in SERVERS:
                yield _measured(experiment, server, reads, seconds)


def _measured(
    experiment: Experiment, server: Server, reads: Sequence[bytes], seconds: float
) -> Registrations:
    reading = LoadJob(server.port, list(reads), READ_CONNECTIONS, seconds)
    users = [_registration() for _ in range(int(seconds * MAX_REGISTRATIONS_PER_SECOND))]
    registering = LoadJob(server.port, users, REGISTRATION_CONNECTIONS, seconds, once=True)
    alone = experiment.generate(reading)
    beside, registered = experiment.generate.together(reading, registering)
    for done in (alone, beside, registered):
        if done.failures:
            raise RuntimeError(f"{server.name}: {done.failures}")
    return Registrations(
        server.name,
        alone.percentile(50) * 1e3,
        alone.percentile(99) * 1e3,
        beside.percentile(50) * 1e3,
        beside.percentile(99) * 1e3,
        beside.percentile(100) * 1e3,
        registered.rate,
    )


def _registration() -> bytes:
    user = {"name": "Ada", "email": f"{uuid4()}@example.com", "password": "correct horse"}
    return encode_request("POST /users", json.dumps(user).encode())
