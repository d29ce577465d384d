"""Compare this service with its peers, and print and store the results."""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Sequence
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

# More than any server reaches, so that the requests of a trial are never used up.
MAX_DELETIONS_PER_SECOND: Final = 8_000
RESULTS: Final = PROJECT_ROOT / "benchmarks" / "results"
PAGE_CHART: Final = PROJECT_ROOT / "docs" / "benchmarks.svg"
# The options that `--quick` replaces. The output goes to another directory, because the results are
# not meaningful.
QUICK_OPTIONS: Final = {
    "rounds": 1,
    "seconds": 0.4,
    "books": 200_000,
    "output": PROJECT_ROOT / ".data" / "bench",
}


def main() -> int:
    """Run the benchmarks. Return 1 if a response was not 2xx, otherwise 0."""
    options = _parse_options()
    layout = cores.choose_layout()
    plan = Plan(options.rounds, options.seconds, options.concurrency, options.books)
    operations = _select_operations(options.operations, plan)
    _print_missing_contestants()
    with (
        tempfile.TemporaryDirectory(prefix="bookshelf-bench-") as directory_name,
        dataset.running_database(Path(directory_name), layout, plan.books) as (url, data),
    ):
        directory = Path(directory_name)
        if options.statements:
            counts = statements.count_statements(url, data, operations, layout, directory)
            print(statements.counts_table(asyncio.run(counts)))
            return 0
        with (
            running_load_generator(layout) as load_generator,
            running_contestants(url, layout, directory) as servers,
        ):
            ceiling = measure_ceiling(load_generator, layout, directory, plan.usual)
            experiment = Experiment(plan, load_generator, url, data, servers)
            results = _measure(experiment, operations, ceiling)
    if options.page:
        report.update_page(results)
    return _store_and_print(results, options.output, draw_page_chart=options.page)


def _parse_options() -> argparse.Namespace:
    """Parse the command line. `--quick` replaces other options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    names = [*all_operations(0)]
    add("--rounds", type=int, default=3, help="trials of each server and operation (%(default)s)")
    add("--seconds", type=float, default=0.8, help="duration of a trial (%(default)s)")
    add(
        "--concurrency",
        type=int,
        nargs="+",
        default=[1, 16, 64],
        help="numbers of connections (%(default)s)",
    )
    add("--books", type=int, default=1_000_000, help="rows of the table books (%(default)s)")
    add("--operations", nargs="+", choices=names, default=names, help="operations to measure (all)")
    add("--quick", action="store_true", help="run one short round, to check that it works")
    add("--output", type=Path, default=RESULTS, help="directory of the results (%(default)s)")
    add("--page", action="store_true", help="also write the results into docs/benchmarks.md")
    add("--statements", action="store_true", help="count SQL statements instead of measuring time")
    options = parser.parse_args()
    if options.quick:
        vars(options).update(QUICK_OPTIONS)
    return options


def _select_operations(names: Sequence[str], plan: Plan) -> list[Operation]:
    """Return the operations with these names."""
    operations = all_operations(int(MAX_DELETIONS_PER_SECOND * plan.seconds))
    return [operations[name] for name in names]


def _print_missing_contestants() -> None:
    """Print the contestants that are not installed."""
    installed = installed_contestants()
    for contestant in CONTESTANTS:
        if contestant not in installed:
            print(f"{contestant.name} is not installed. Run `make bench`.", file=sys.stderr)


def _measure(experiment: Experiment, operations: Sequence[Operation], ceiling: float) -> Results:
    """Check that the servers do the same work, and measure all operations.

    `ceiling` is the rate that the load generator reaches alone.
    """
    for operation in operations:
        check_responses(experiment, operation)
    trials = []
    for operation in operations:
        for trial in experiment.run_trials(operation):
            print(
                f"{trial.operation} {trial.server} {trial.concurrency}: {trial.rate:.0f}/s",
                file=sys.stderr,
            )
            trials.append(trial)
    return Results(
        environment=describe_environment(),
        plan=experiment.plan,
        ceiling=ceiling,
        titles={operation.name: operation.title for operation in operations},
        trials=trials,
        registrations=list(registrations.measure_registrations(experiment)),
    )


def _store_and_print(results: Results, output: Path, *, draw_page_chart: bool) -> int:
    """Store the results and print the tables. Return 1 if requests failed, otherwise 0.

    The chart is written to `output`, or to docs/ if `draw_page_chart` is true.
    """
    output.mkdir(parents=True, exist_ok=True)
    results_file = output.resolve() / "results.json"
    results.write(results_file)
    tables = report.full_report(results)
    (output / "tables.md").write_text(tables)
    print(tables)
    # matplotlib is installed in the environment of the peers only.
    if PEER_PYTHON.exists():
        chart = PAGE_CHART if draw_page_chart else output.resolve() / "chart.svg"
        command = [str(PEER_PYTHON), "-m", "benchmarks.chart", str(results_file), str(chart)]
        subprocess.run(command, check=True, cwd=PROJECT_ROOT)
    failures = results.failures()
    for reason, count in failures.items():
        print(f"FAILED {count} times: {reason}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
