"""The performance targets of this service, and whether a run reaches them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from benchmarks.results import LIMIT, SERVICE, Results

TUTORIAL: Final = "tutorial"
ALCHEMY: Final = "FastAPI + Advanced Alchemy"
FIRST_PAGE: Final = "list_books_0"
DEEPEST_PAGE: Final = "list_books_100000"


@dataclass(frozen=True)
class Target:
    """A bound for a measured value. The value must be at least or at most the bound."""

    description: str
    word: Literal["at least", "at most"]
    bound: float
    value: float

    @property
    def is_reached(self) -> bool:
        """True if the value keeps the bound."""
        if self.word == "at least":
            return self.value >= self.bound
        return self.value <= self.bound


def compute_targets(results: Results) -> Iterator[Target]:
    """Yield the targets that can be checked with the servers and operations of a run."""
    connections = results.plan.usual
    operations = results.operations

    def ratio(field: str, server: str) -> float:
        return results.ratio(field, server, connections, operations)

    if TUTORIAL in results.servers:
        yield Target("requests/s to the tutorial", "at least", 3.5, ratio("rate", TUTORIAL))
        yield Target("p99 to the tutorial", "at most", 0.4, ratio("p99", TUTORIAL))
        yield Target("memory to the tutorial", "at most", 1.0, ratio("memory", TUTORIAL))
    if ALCHEMY in results.servers:
        yield Target("requests/s to Advanced Alchemy", "at least", 5.0, ratio("rate", ALCHEMY))
    if LIMIT in results.servers:
        yield Target("requests/s to the limit", "at least", 0.3, ratio("rate", LIMIT))
    most_connections = max(results.plan.concurrency)
    longest = max(
        max(results.values("longest", SERVICE, operation, most_connections))
        for operation in operations
    )
    description = f"longest response with {most_connections} connections, ms"
    yield Target(description, "at most", 1000, longest)
    if {FIRST_PAGE, DEEPEST_PAGE} <= set(operations):
        first = results.median("rate", SERVICE, FIRST_PAGE, connections)
        deepest = results.median("rate", SERVICE, DEEPEST_PAGE, connections)
        yield Target(
            "requests/s of the deepest page to the first", "at least", 0.8, deepest / first
        )
