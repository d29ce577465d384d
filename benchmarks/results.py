"""What was measured, as it is kept. It needs nothing but Python: the chart is drawn elsewhere."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import exp, fsum, log
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeVar

BOOKSHELF, LIMIT = "bookshelf", "limit"
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """How much to measure: `seconds` is of one trial, `concurrency` its numbers of connections."""

    rounds: int
    seconds: float
    concurrency: Sequence[int]
    books: int

    @property
    def usual(self) -> int:
        """The number of connections that the summary is about."""
        return sorted(self.concurrency)[len(self.concurrency) // 2]


@dataclass(frozen=True)
class Trial:
    """One server under one operation for a few seconds."""

    operation: str
    server: str
    concurrency: int
    rate: float  # requests per second
    p50: float  # milliseconds
    p99: float  # milliseconds
    longest: float  # milliseconds
    cpu: float  # microseconds of the server's processor time per request
    busy: float  # percent of one core that the server used; below 100 something else was slower
    memory: float  # MiB, resident
    failures: dict[str, int]  # by status or reason


@dataclass(frozen=True)
class Registrations:
    """Milliseconds of reads, alone and while users register; how many of these in a second."""

    server: str
    alone_p50: float
    alone_p99: float
    p50: float
    p99: float
    longest: float
    rate: float


@dataclass(frozen=True)
class Results:
    """One run: `titles` are the operations', `ceiling` is what the load generator could ask."""

    environment: dict[str, Any]
    plan: Plan
    ceiling: float
    titles: dict[str, str]
    trials: Sequence[Trial]
    registrations: Sequence[Registrations]

    @property
    def servers(self) -> list[str]:
        return _unique(trial.server for trial in self.trials)

    @property
    def operations(self) -> list[str]:
        return _unique(trial.operation for trial in self.trials)

    def values(self, name: str, server: str, operation: str, concurrency: int) -> list[float]:
        """A figure of every round."""
        return [
            float(getattr(trial, name))
            for trial in self.trials
            if (trial.server, trial.operation, trial.concurrency)
            == (server, operation, concurrency)
        ]

    def median(self, name: str, server: str, operation: str, concurrency: int) -> float:
        return median(self.values(name, server, operation, concurrency))

    def ratio(self, name: str, server: str, concurrency: int, operations: Sequence[str]) -> float:
        """Ours to theirs, in geometric mean over the operations."""
        pairs = (
            [self.median(name, who, operation, concurrency) for who in (BOOKSHELF, server)]
            for operation in operations
        )
        return exp(fsum(log(ours / max(theirs, 1e-9)) for ours, theirs in pairs) / len(operations))

    def failures(self) -> dict[str, int]:
        """Answers other than 2xx, by operation, server and status."""
        return {
            f"{trial.operation}, {trial.server}, {trial.concurrency} connections: {reason}": times
            for trial in self.trials
            for reason, times in trial.failures.items()
        }

    def write(self, path: Path) -> None:
        """As JSON, a line for each trial."""
        content = {**asdict(self), "trials": [], "registrations": []}
        head = json.dumps(content, indent=1).removesuffix("\n}")
        for name, rows in (("registrations", self.registrations), ("trials", self.trials)):
            lines = ",\n  ".join(json.dumps(_rounded(row)) for row in rows)
            head = head.replace(f'"{name}": []', f'"{name}": [\n  {lines}\n ]')
        path.write_text(head + "\n}\n")

    @classmethod
    def read(cls, path: Path) -> "Results":
        """What `write` has written."""
        content = json.loads(path.read_text())
        content["plan"] = Plan(**content["plan"])
        content["trials"] = [Trial(**trial) for trial in content["trials"]]
        content["registrations"] = [Registrations(**row) for row in content["registrations"]]
        return cls(**content)


def _rounded(row: Trial | Registrations) -> dict[str, Any]:
    """To a thousandth, which is more than is known."""
    fields = asdict(row).items()
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in fields}


def _unique(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))


DEEP_PAGES: Final = ("list_books_1000", "list_books_100000")


def without_deep_pages(operations: Sequence[str]) -> list[str]:
    """Those that are no deep pages, of which an offset is slower the deeper."""
    return [name for name in operations if name not in DEEP_PAGES]
