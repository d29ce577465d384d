"""The results of a run, which are stored as JSON.

The module uses the standard library only, because the chart is drawn in another environment.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import exp, fsum, log
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeVar

SERVICE: Final = "bookshelf"
LIMIT: Final = "limit"
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """The size of a run: rounds, seconds per trial, numbers of connections, books in the table."""

    rounds: int
    seconds: float
    concurrency: Sequence[int]
    books: int

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
        memory: Resident memory of the server in MiB.
        failures: The number of failed requests by status or reason.
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
class Results:
    """The results of one run.

    Args:
        environment: The date, the machine and the versions of packages.
        plan: The size of the run.
        ceiling: The highest rate that the load generator reached, in requests per second.
        titles: The headings of the operations by their names.
        trials: The measurements of all operations.
        registrations: The latencies of reads while users register.
    """

    environment: dict[str, Any]
    plan: Plan
    ceiling: float
    titles: dict[str, str]
    trials: Sequence[Trial]
    registrations: Sequence[Registrations]

    @property
    def servers(self) -> list[str]:
        """The names of the servers, in the order of their trials."""
        return _unique(trial.server for trial in self.trials)

    @property
    def operations(self) -> list[str]:
        """The names of the operations, in the order of their trials."""
        return _unique(trial.operation for trial in self.trials)

    def values(self, field: str, server: str, operation: str, concurrency: int) -> list[float]:
        """Return a field of the trials of a server, such as "rate", for each round."""
        return [
            float(getattr(trial, field))
            for trial in self.trials
            if (trial.server, trial.operation, trial.concurrency)
            == (server, operation, concurrency)
        ]

    def median(self, field: str, server: str, operation: str, concurrency: int) -> float:
        """Return the median of a field over the rounds."""
        return median(self.values(field, server, operation, concurrency))

    def ratio(self, field: str, server: str, concurrency: int, operations: Sequence[str]) -> float:
        """Return the geometric mean of the ratios of this service to a server."""
        logarithms = []
        for operation in operations:
            service = self.median(field, SERVICE, operation, concurrency)
            other = self.median(field, server, operation, concurrency)
            # The lower bound avoids a division by zero.
            logarithms.append(log(service / max(other, 1e-9)))
        return exp(fsum(logarithms) / len(operations))

    def failures(self) -> dict[str, int]:
        """Return the number of failed requests by operation, server and reason."""
        return {
            f"{trial.operation}, {trial.server}, {trial.concurrency} connections: {reason}": times
            for trial in self.trials
            for reason, times in trial.failures.items()
        }

    def write(self, path: Path) -> None:
        """Write the results as JSON, with one line for each trial."""
        content = {**asdict(self), "trials": [], "registrations": []}
        text = json.dumps(content, indent=1)
        for name, rows in (("registrations", self.registrations), ("trials", self.trials)):
            lines = ",\n  ".join(json.dumps(_rounded(row)) for row in rows)
            text = text.replace(f'"{name}": []', f'"{name}": [\n  {lines}\n ]')
        path.write_text(text + "\n")

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read a file that `write` has written."""
        content = json.loads(path.read_text())
        content["plan"] = Plan(**content["plan"])
        content["trials"] = [Trial(**trial) for trial in content["trials"]]
        content["registrations"] = [Registrations(**row) for row in content["registrations"]]
        return cls(**content)


def _rounded(row: Trial | Registrations) -> dict[str, Any]:
    """Return the fields of a measurement, with numbers rounded to three decimal places."""
    fields = asdict(row)
    for name, value in fields.items():
        if isinstance(value, float):
            fields[name] = round(value, 3)
    return fields


def _unique(items: Iterable[T]) -> list[T]:
    """Return the items without duplicates, in their order."""
    return list(dict.fromkeys(items))


DEEP_PAGES: Final = ("list_books_1000", "list_books_100000")


def without_deep_pages(operations: Sequence[str]) -> list[str]:
    """Return the operations except deep pages, which are slow for servers that use an offset."""
    return [name for name in operations if name not in DEEP_PAGES]
