"""Runs contestants in one form: their processes, their logs and their network to Postgres."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import asyncpg
from sqlalchemy.engine import make_url

from benchmarks.contestants import OBJECT_STORE, Contestant
from benchmarks.cores import CoreLayout
from benchmarks.forms import Form
from benchmarks.log_reader import reading_log
from benchmarks.results import SERVICE
from benchmarks.servers import Server, find_free_port, running_command, running_module
from benchmarks.wiretap import SOCKET_NAME

# A contestant and its running server.
Entry = tuple[Contestant, Server]
# The number of round trips whose median is measured.
_ROUND_TRIPS: Final = 200


@dataclass(frozen=True)
class Site:
    """Where servers run.

    Args:
        url: The database, with a Unix socket.
        layout: The CPU cores.
        directory: The working directory of the servers.
        token: The access token that requests send in the form `production`.
    """

    url: str
    layout: CoreLayout
    directory: Path
    token: str = ""


@dataclass(frozen=True)
class Fleet:
    """The running servers of one form, and the URL of the database that they use."""

    database_url: str
    entries: list[Entry]


@contextmanager
def running_fleet(
    site: Site,
    form: Form,
    contestants: Sequence[Contestant],
    problems: dict[str, str] | None = None,
) -> Iterator[Fleet]:
    """Run contestants with the same database, until the block ends.

    A contestant that does not start is left out, and the reason is added to `problems`. Without
    `problems`, it raises `RuntimeError`.
    """
    with ExitStack() as stack:
        url = stack.enter_context(_network(site, form))
        entries = []
        for contestant in contestants:
            try:
                server = stack.enter_context(running_contestant(site, form, contestant, url))
            except RuntimeError as error:
                if problems is None or contestant.name == SERVICE:
                    raise
                record_problem(problems, form, contestant.name, error)
            else:
                entries.append((contestant, server))
        yield Fleet(url, entries)


@contextmanager
def running_contestant(
    site: Site, form: Form, contestant: Contestant, url: str
) -> Iterator[Server]:
    """Run one contestant in a form, with the database at `url`, until the block ends."""
    with ExitStack() as stack:
        log = None
        token = ""
        if form.is_production:
            log = stack.enter_context(reading_log(site.layout.load))
            token = site.token
        yield stack.enter_context(
            running_command(
                contestant.name,
                contestant.command(form),
                cores=site.layout.server,
                directory=site.directory,
                database_url=url,
                environment={**form.environment(find_free_port()), **OBJECT_STORE},
                log=log,
                token=token,
            )
        )


async def measure_round_trip(url: str) -> float:
    """Return the milliseconds that the shortest query takes, as the median of many."""
    connection = await asyncpg.connect(url)
    try:
        statement = await connection.prepare("SELECT 1")
        durations = []
        for _ in range(_ROUND_TRIPS):
            started_at = perf_counter()
            await statement.fetchval()
            durations.append(perf_counter() - started_at)
    finally:
        await connection.close()
    return median(durations) * 1e3


def record_problem(problems: dict[str, str], form: Form, name: str, error: Exception) -> None:
    """Print why a contestant is not measured any more, and add the reason to `problems`."""
    reason = f"{type(error).__name__}: {error}"
    problems[f"{form.name}, {name}"] = reason
    print(f"{form.name}, {name} is left out: {reason}", file=sys.stderr)


@contextmanager
def _network(site: Site, form: Form) -> Iterator[str]:
    """Yield the URL of the database. With a delay, it is that of a proxy, which runs meanwhile."""
    if not form.network_delay:
        yield site.url
        return
    socket_path = Path(str(make_url(site.url).query["host"])) / SOCKET_NAME
    module = ("benchmarks.delay_proxy", "{port}", str(socket_path), str(form.network_delay))
    with running_module(
        "delay proxy", module, cores=site.layout.database, directory=site.directory
    ) as proxy:
        address = make_url(site.url).set(host="127.0.0.1", port=proxy.port, query={})
        yield address.render_as_string(hide_password=False)
