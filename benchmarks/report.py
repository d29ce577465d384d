"""Trials as a Markdown table of medians and as JSON."""

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from statistics import median
from typing import Any, Final

from benchmarks.operations import OPERATIONS
from benchmarks.trials import Plan, Trial

# Field of a trial, heading, format.
_COLUMNS: Final = (
    ("rate", "requests/s", ".0f"),
    ("p50", "p50 ms", ".1f"),
    ("p99", "p99 ms", ".1f"),
    ("cpu", "CPU µs/request", ".0f"),
    ("busy", "core busy %", ".0f"),
    ("memory", "memory MiB", ".0f"),
)
_PACKAGES: Final = (
    "fastapi",
    "pydantic",
    "sqlalchemy",
    "asyncpg",
    "uvicorn",
    "uvloop",
    "httptools",
)


def table(trials: Sequence[Trial]) -> str:
    """For each operation a row of medians per server and one of ratios, the first to the others."""
    header = ["operation", "server", *(heading for _, heading, _ in _COLUMNS)]
    rows = [header, ["---"] * 2 + ["---:"] * len(_COLUMNS)]
    for operation, servers in _grouped(trials).items():
        title = OPERATIONS[operation].title
        rows += [[f"`{title}`", name, *_cells(_medians(found))] for name, found in servers.items()]
        (_, ours), *others = servers.items()
        rows += [["", f"ratio to {name}", *_ratios(ours, theirs)] for name, theirs in others]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def failures(trials: Sequence[Trial]) -> Counter[str]:
    """Answers other than 2xx, by operation, server and status."""
    return Counter(
        {
            f"{trial.operation} {trial.server} {reason}": count
            for trial in trials
            for reason, count in trial.failures.items()
        }
    )


def document(trials: Sequence[Trial], plan: Plan, ceiling: float) -> str:
    """Everything, as JSON: each trial, not only the medians, and where it was measured."""
    medians = {
        operation: {name: _medians(found) for name, found in servers.items()}
        for operation, servers in _grouped(trials).items()
    }
    return json.dumps(
        {
            "environment": _environment(),
            "plan": asdict(plan),
            "ceiling": ceiling,
            "medians": medians,
            "trials": [asdict(trial) for trial in trials],
        },
        indent=2,
    )


def _environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _grouped(trials: Sequence[Trial]) -> dict[str, dict[str, list[Trial]]]:
    """Trials by operation and server, in the order in which they came."""
    found: dict[str, dict[str, list[Trial]]] = {}
    for trial in trials:
        found.setdefault(trial.operation, {}).setdefault(trial.server, []).append(trial)
    return found


def _medians(trials: Sequence[Trial]) -> dict[str, float]:
    return {name: median(getattr(trial, name) for trial in trials) for name, _, _ in _COLUMNS}


def _cells(values: Mapping[str, float]) -> list[str]:
    return [f"{values[name]:{form}}" for name, _, form in _COLUMNS]


def _ratios(ours: Sequence[Trial], theirs: Sequence[Trial]) -> list[str]:
    """Ratios of the medians; for the rate also the least and the most of any one round."""
    above, below = _medians(ours), _medians(theirs)
    ratios = [f"{above[name] / max(below[name], 1e-9):.2f}" for name, _, _ in _COLUMNS]
    rounds = [mine.rate / max(other.rate, 1e-9) for mine, other in zip(ours, theirs, strict=True)]
    return [f"**{ratios[0]}** ({min(rounds):.2f} to {max(rounds):.2f})", *ratios[1:]]
