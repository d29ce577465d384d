"""What registrations do to everybody else: reads beside `POST /users`, whose passwords are hashed.

Ours beside the tutorial's, which hashes in the handler with its library's defaults.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Final
from uuid import uuid4

from benchmarks.load import Job
from benchmarks.results import Registrations
from benchmarks.servers import Server
from benchmarks.trials import Experiment
from benchmarks.wire import request

SERVERS: Final = ("bookshelf", "tutorial")
READERS: Final = 4  # connections
REGISTERING: Final = 4  # connections
LENGTH: Final = 3  # times the length of another trial: a hash takes a while
MOST: Final = 300  # registrations a second


def measured(experiment: Experiment) -> Iterator[Registrations]:
    """By turns, as many rounds as of everything else."""
    reads = [request(f"GET /books/{book}") for book in experiment.data.books]
    seconds = experiment.plan.seconds * LENGTH
    for _ in range(experiment.plan.rounds):
        for who, server in experiment.servers:
            if who.name in SERVERS:
                yield _measured(experiment, server, reads, seconds)


def _measured(
    experiment: Experiment, server: Server, reads: Sequence[bytes], seconds: float
) -> Registrations:
    reading = Job(server.port, list(reads), READERS, seconds)
    users = [_registration() for _ in range(int(seconds * MOST))]
    registering = Job(server.port, users, REGISTERING, seconds, once=True)
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
    return request("POST /users", json.dumps(user).encode())
