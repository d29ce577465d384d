"""The results of a run, which are stored as JSON.

The module uses the standard library only, because the chart is drawn in another environment.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import exp, fsum, log, nan
from pathlib import Path
from statistics import median
from typing import Any, Final, TypeVar

from benchmarks.measurements import Memory, OpenLoopTrial, Plan, Registrations, Trial

SERVICE: Final = "bookshelf"
LIMIT: Final = "limit"
T = TypeVar("T")


@dataclass
class Results:
    """The results of one run, or of the part of it that is complete.

    Args:
        environment: The date, the machine and the versions of packages.
        plan: The size of the run.
        ceiling: The highest rate that the load generator reached, in requests per second.
        titles: The headings of the operations by their names.
        trials: The measurements of all operations.
        registrations: The latencies of reads while users register.
        open_loop: The latencies at fixed rates, in the form `production`.
        memory: The memory with several numbers of processes.
        problems: Why a server was not measured, or not completely, by its form and name.
        round_trips: The milliseconds of a round trip to Postgres, by form.
    """

    environment: dict[str, Any]
    plan: Plan
    ceiling: float
    titles: dict[str, str]
    trials: list[Trial] = field(default_factory=list)
    registrations: list[Registrations] = field(default_factory=list)
    open_loop: list[OpenLoopTrial] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    round_trips: dict[str, float] = field(default_factory=dict)

    def of_form(self, form: str) -> "Results":
        """Return the results with only the trials of one form."""
        return replace(self, trials=[trial for trial in self.trials if trial.form == form])

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
        """Return the median of a field over the rounds, or not-a-number without trials."""
        values = self.values(field, server, operation, concurrency)
        if not values:
            return nan
        return median(values)

    def ratio(self, field: str, server: str, concurrency: int, operations: Sequence[str]) -> float:
        """Return the geometric mean of the ratios of this service to a server.

        Leaves out operations that one of them has no trials of. Returns not-a-number if none is
        left.
        """
        logarithms = []
        for operation in operations:
            service = self.median(field, SERVICE, operation, concurrency)
            other = self.median(field, server, operation, concurrency)
            if service > 0 and other > 0:
                logarithms.append(log(service / other))
        if not logarithms:
            return nan
        return exp(fsum(logarithms) / len(logarithms))

    def open_loop_median(self, field: str, server: str, load: float) -> float:
        """Return the median of a field of the open loop, or not-a-number without trials."""
        values = [
            float(getattr(trial, field))
            for trial in self.open_loop
            if (trial.server, trial.load) == (server, load)
        ]
        if not values:
            return nan
        return median(values)

    def memory_per_process(self, server: str) -> float:
        """Return the MiB that each process after the second one adds, or not-a-number.

        The first process is not comparable, because several processes have a supervisor too.
        """
        sizes = {row.processes: row.pss for row in self.memory if row.server == server}
        counts = sorted(count for count in sizes if count > 1)
        if len(counts) < 2:
            return nan
        return (sizes[counts[-1]] - sizes[counts[0]]) / (counts[-1] - counts[0])

    def failures(self) -> dict[str, int]:
        """Return the number of failed requests by form, operation, server and reason."""
        failures: Counter[str] = Counter()
        for trial in self.trials:
            place = f"{trial.form}, {trial.operation}, {trial.server}"
            for reason, times in trial.failures.items():
                failures[f"{place}, {trial.concurrency} connections: {reason}"] += times
        for open_trial in self.open_loop:
            place = f"open loop, {open_trial.server}, {open_trial.load:.0%}"
            for reason, times in open_trial.failures.items():
                failures[f"{place}: {reason}"] += times
        return dict(failures)

    def write(self, path: Path) -> None:
        """Write the results as JSON, with one line for each measurement.

        An earlier file is replaced only when the new one is complete.
        """
        content = asdict(self)
        lists = {name: content[name] for name in _MEASUREMENTS}
        text = json.dumps({**content, **{name: [] for name in lists}}, indent=1)
        for name, rows in lists.items():
            lines = ",\n  ".join(json.dumps(_rounded(row)) for row in rows)
            text = text.replace(f'\n "{name}": []', f'\n "{name}": [\n  {lines}\n ]')
        new_file = path.with_suffix(".new")
        new_file.write_text(text + "\n")
        new_file.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read a file that `write` has written."""
        content = json.loads(path.read_text())
        content["plan"] = Plan(**content["plan"])
        for name, measurement in _MEASUREMENTS.items():
            content[name] = [measurement(**row) for row in content.get(name, [])]
        return cls(**content)


# The class of the rows in each list of the results.
_MEASUREMENTS: Final[dict[str, type[Any]]] = {
    "registrations": Registrations,
    "open_loop": OpenLoopTrial,
    "memory": Memory,
    "trials": Trial,
}


def _rounded(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a measurement, with numbers rounded to three decimal places."""
    return {
        name: round(value, 3) if isinstance(value, float) else value
        for name, value in fields.items()
    }


def _unique(items: Iterable[T]) -> list[T]:
    """Return the items without duplicates, in their order."""
    return list(dict.fromkeys(items))


DEEP_PAGES: Final = ("list_books_1000", "list_books_100000")


def without_deep_pages(operations: Sequence[str]) -> list[str]:
    """Return the operations except deep pages, which are slow for servers that use an offset."""
    return [name for name in operations if name not in DEEP_PAGES]
