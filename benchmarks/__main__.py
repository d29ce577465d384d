"""python -m benchmarks: start everything, measure, print the table. `--help` lists the options."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import cores, dataset, report, statements
from benchmarks.operations import OPERATIONS
from benchmarks.trials import Experiment, Plan, Trial, both, ceiling, generator


def main() -> int:
    """Run what the command line asks for; the exit code: 1 where an answer was not 2xx."""
    options = _options()
    layout = cores.layout()
    with _directory() as directory, dataset.loaded(directory, layout) as (url, books):
        if options.statements:
            chosen = [OPERATIONS[name] for name in options.operations]
            counts = statements.count(url, books, chosen, layout, directory)
            print(statements.table(asyncio.run(counts)))
            return 0
        plan = Plan(options.rounds, options.seconds, options.concurrency)
        with generator(layout) as generate, both(url, layout, directory) as servers:
            limit = ceiling(generate, layout, directory, plan.concurrency)
            experiment = Experiment(plan, generate, url, books, servers)
            trials = _run(experiment, options.operations)
    return _finish(trials, plan, limit, options.output)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=report.__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="trials of each server and operation (%(default)s)")
    add("--seconds", type=float, default=4.0, help="length of a trial (%(default)s)")
    add("--concurrency", type=int, default=16, help="connections (%(default)s)")
    add("--operations", nargs="+", choices=OPERATIONS, default=[*OPERATIONS], help="all by default")
    add("--output", type=Path, help="also write every trial to this JSON file")
    add("--statements", action="store_true", help="count SQL statements instead of seconds")
    return parser.parse_args()


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bookshelf-bench-") as name:
        yield Path(name)


def _run(experiment: Experiment, operations: Sequence[str]) -> list[Trial]:
    trials: list[Trial] = []
    for name in operations:
        experiment.check(OPERATIONS[name])
    for name in operations:
        for trial in experiment.trials(OPERATIONS[name]):
            print(f"{name} {trial.server}: {trial.rate:.0f}/s", file=sys.stderr)
            trials.append(trial)
    return trials


def _finish(trials: Sequence[Trial], plan: Plan, limit: float, output: Path | None) -> int:
    if output is not None:
        output.write_text(report.document(trials, plan, limit) + "\n")
    print(report.table(trials))
    print(
        f"\nMedians of {plan.rounds} rounds of {plan.seconds:g} s, {plan.concurrency} connections."
    )
    fastest = max(trial.rate for trial in trials)
    print(
        f"The load generator's ceiling is {limit:.0f} requests/s, {limit / fastest:.0f} times that."
    )
    failed = report.failures(trials)
    for reason, times in failed.items():
        print(f"FAILED {times} times: {reason}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
