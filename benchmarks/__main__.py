"""python -m benchmarks: start everything, measure, print and store. `--help` lists the options."""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks import cores, dataset, registrations, report, statements
from benchmarks.contestants import CONTESTANTS, PEER_PYTHON, installed_contestants
from benchmarks.equality import check_responses
from benchmarks.machine import describe_environment
from benchmarks.operations import Operation, all_operations
from benchmarks.results import Plan, Results
from benchmarks.servers import PROJECT_ROOT
from benchmarks.trials import (
    Experiment,
    measure_ceiling,
    running_contestants,
    running_load_generator,
)

DELETIONS: Final = 8_000  # that anybody may make in a second
RESULTS: Final = PROJECT_ROOT / "benchmarks" / "results"
PAGE_CHART: Final = PROJECT_ROOT / "docs" / "benchmarks.svg"
# Not to be kept: nobody should take it for a result.
QUICK: Final = {
    "rounds": 1,
    "seconds": 0.4,
    "books": 200_000,
    "output": PROJECT_ROOT / ".data" / "bench",
}


def main() -> int:
    """Run what the command line asks for; the exit code: 1 where an answer was not 2xx."""
    options = _options()
    layout, plan = cores.choose_layout(), Plan(*_plan(options))
    chosen = _chosen(options.operations, plan)
    _say_who_is_absent()
    with (
        _directory() as directory,
        dataset.running_database(directory, layout, plan.books) as (url, data),
    ):
        if options.statements:
            counts = statements.count_statements(url, data, chosen, layout, directory)
            print(statements.counts_table(asyncio.run(counts)))
            return 0
        with (
            running_load_generator(layout) as generate,
            running_contestants(url, layout, directory) as servers,
        ):
            limit = measure_ceiling(generate, layout, directory, plan.usual)
            results = _measured(Experiment(plan, generate, url, data, servers), chosen, limit)
    if options.page:
        report.update_page(results)
    return _finish(results, options.output, draw_page_chart=options.page)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="trials of each server and operation (%(default)s)")
    add("--seconds", type=float, default=0.8, help="length of a trial (%(default)s)")
    add("--concurrency", type=int, nargs="+", default=[1, 16, 64], help="connections (%(default)s)")
    add("--books", type=int, default=1_000_000, help="(%(default)s)")
    add(
        "--operations",
        nargs="+",
        choices=all_operations(0),
        default=[*all_operations(0)],
        help="all",
    )
    add("--quick", action="store_true", help="one short round, kept in .data: does it run?")
    add("--output", type=Path, default=RESULTS, help="directory (%(default)s)")
    add("--page", action="store_true", help="write the results into docs/benchmarks.md as well")
    add("--statements", action="store_true", help="count SQL statements instead of seconds")
    return parser.parse_args()


def _plan(options: argparse.Namespace) -> tuple[int, float, list[int], int]:
    if options.quick:
        vars(options).update(QUICK)
    return options.rounds, options.seconds, options.concurrency, options.books


def _chosen(names: Sequence[str], plan: Plan) -> list[Operation]:
    found = all_operations(int(DELETIONS * plan.seconds))
    return [found[name] for name in names]


def _say_who_is_absent() -> None:
    here = installed_contestants()
    for who in CONTESTANTS:
        if who not in here:
            print(f"{who.name} is not installed: `make bench` does that.", file=sys.stderr)


@contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bookshelf-bench-") as name:
        yield Path(name)


def _measured(experiment: Experiment, chosen: Sequence[Operation], limit: float) -> Results:
    for operation in chosen:
        check_responses(experiment, operation)
    trials = []
    for operation in chosen:
        for trial in experiment.trials(operation):
            print(
                f"{trial.operation} {trial.server} {trial.concurrency}: {trial.rate:.0f}/s",
                file=sys.stderr,
            )
            trials.append(trial)
    users = list(registrations.measure_registrations(experiment))
    titles = {operation.name: operation.title for operation in chosen}
    return Results(describe_environment(), experiment.plan, limit, titles, trials, users)


def _finish(results: Results, output: Path, *, draw_page_chart: bool) -> int:
    output.mkdir(parents=True, exist_ok=True)
    results.write(output / "results.json")
    tables = report.full_report(results)
    (output / "tables.md").write_text(tables)
    print(tables)
    if PEER_PYTHON.exists():
        chart = PAGE_CHART if draw_page_chart else output.resolve() / "chart.svg"
        files = (str(output.resolve() / "results.json"), str(chart))
        subprocess.run(
            [str(PEER_PYTHON), "-m", "benchmarks.chart", *files], check=True, cwd=PROJECT_ROOT
        )
    for reason, times in (failed := results.failures()).items():
        print(f"FAILED {times} times: {reason}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
