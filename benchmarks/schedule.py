"""The parts of a run, and how long they take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.arrivals import LOADS
from benchmarks.closed_loop import MAIN_OPERATIONS, MAIN_SERVERS
from benchmarks.forms import FORMS, Form
from benchmarks.measurements import Plan
from benchmarks.operations import Operation
from benchmarks.process_sizes import PROCESS_COUNTS, SERVERS
from benchmarks.registrations import DURATION_FACTOR
from benchmarks.trials import WARM_UP_SECONDS

# The size of a run of `make bench`.
FULL_PLAN: Final = Plan(
    rounds=5, seconds=0.7, concurrency=[1, 16, 64], books=1_000_000, open_loop_seconds=3.0
)
# The size of a run with `--quick`, which only checks that everything works.
QUICK_PLAN: Final = Plan(
    rounds=1, seconds=0.2, concurrency=[16], books=200_000, open_loop_seconds=0.5
)
# Seconds that were measured on two cores.
_SECONDS_PER_MILLION_BOOKS: Final = 60
_SECONDS_TO_START_A_SERVER: Final = 2.5
# A trial of writes restores the rows, and counts them.
_SECONDS_OF_WRITES: Final = 0.3
_SECONDS_BETWEEN_TRIALS: Final = 0.1


@dataclass(frozen=True)
class Parts:
    """The parts of a run: the forms in a closed loop, the open loop, and the process sizes."""

    forms: tuple[Form, ...]
    open_loop: bool
    process_sizes: bool


def choose_parts(form_name: str | None, *, only_open_loop: bool) -> Parts:
    """Return what the options --form and --open-loop select. Without them, this is everything."""
    if form_name is None and not only_open_loop:
        return Parts(FORMS, open_loop=True, process_sizes=True)
    forms = tuple(form for form in FORMS if form.name == form_name)
    return Parts(forms, open_loop=only_open_loop, process_sizes=False)


def estimate_seconds(
    parts: Parts, plan: Plan, operations: Sequence[Operation], server_count: int
) -> float:
    """Return about how many seconds a run takes."""
    seconds = _SECONDS_PER_MILLION_BOOKS * plan.books / 1e6
    for form in parts.forms:
        seconds += server_count * _SECONDS_TO_START_A_SERVER
        seconds += _closed_loop_seconds(form, plan, operations, server_count)
    if parts.open_loop:
        if all(form.network_delay == 0 for form in parts.forms):
            seconds += server_count * _SECONDS_TO_START_A_SERVER
        seconds += server_count * (plan.rounds + 1) * (plan.seconds + _SECONDS_BETWEEN_TRIALS)
        trial_count = server_count * plan.rounds * len(LOADS)
        seconds += trial_count * (plan.open_loop_seconds + _SECONDS_BETWEEN_TRIALS)
    if parts.process_sizes:
        seconds += len(SERVERS) * len(PROCESS_COUNTS) * (_SECONDS_TO_START_A_SERVER + 3)
    return seconds


def _closed_loop_seconds(
    form: Form, plan: Plan, operations: Sequence[Operation], server_count: int
) -> float:
    """Return about how many seconds the closed loop takes in one form."""
    seconds = 0.0
    for operation in operations:
        trial_count = server_count * plan.rounds
        is_main = operation.name in MAIN_OPERATIONS and not form.is_production
        if is_main:
            trial_count += len(MAIN_SERVERS) * plan.rounds * (len(plan.concurrency) - 1)
        seconds_between_trials = _SECONDS_BETWEEN_TRIALS
        if operation.writes:
            seconds_between_trials += _SECONDS_OF_WRITES
            # The responses are compared before the first trial.
            seconds += server_count * _SECONDS_OF_WRITES
        seconds += trial_count * (plan.seconds + seconds_between_trials)
        seconds += server_count * (min(WARM_UP_SECONDS, plan.seconds) + seconds_between_trials)
    if not form.is_production:
        seconds += 2 * 2 * plan.rounds * plan.seconds * DURATION_FACTOR
    return seconds
