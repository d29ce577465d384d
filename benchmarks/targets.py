"""The performance targets of this service, and whether a run reaches them."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan
from typing import Final, Literal

from benchmarks.forms import FORMS, PLAIN, PRODUCTION
from benchmarks.results import LIMIT, SERVICE, Results, without_deep_pages

TUTORIAL: Final = "tutorial"
FASTIFY: Final = "Fastify"
# The load of the open loop at which latencies have a target.
HIGHEST_LOAD: Final = 0.9
# The least requests per second in relation to `limit`, by form.
RATE_TO_LIMIT: Final = {PLAIN.name: 0.5, PRODUCTION.name: 0.4}


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
    """Yield the targets that can be checked with the measurements of a run."""
    for target in _all_targets(results):
        if not isnan(target.value):
            yield target


def _all_targets(results: Results) -> Iterator[Target]:
    """Yield all targets. The value of a target that was not measured is not-a-number."""
    usual = results.plan.usual
    for form in FORMS:
        of_form = results.of_form(form.name)
        operations = of_form.operations
        to_limit = of_form.ratio("rate", LIMIT, usual, operations)
        yield Target(
            f"{form.name}: requests/s to the limit", "at least", RATE_TO_LIMIT[form.name], to_limit
        )
        to_fastify = of_form.ratio("rate", FASTIFY, usual, without_deep_pages(operations))
        description = f"{form.name}: requests/s to Fastify, without deep pages"
        yield Target(description, "at least", 0.6, to_fastify)
        p99 = of_form.ratio("p99", TUTORIAL, usual, operations)
        yield Target(f"{form.name}: p99 to the tutorial", "at most", 0.15, p99)
    p50 = results.open_loop_median("p50", SERVICE, HIGHEST_LOAD)
    p999 = results.open_loop_median("p999", SERVICE, HIGHEST_LOAD)
    yield Target(f"open loop at {HIGHEST_LOAD:.0%}: p99.9 to p50", "at most", 10, p999 / p50)
    plain = results.of_form(PLAIN.name)
    memory = plain.ratio("memory", TUTORIAL, usual, plain.operations)
    yield Target("plain: memory to the tutorial", "at most", 1.1, memory)
    additional = results.memory_per_process(SERVICE)
    yield Target("MiB (PSS) of each additional process", "at most", 45, additional)
