"""Compare this service with its peers, and print and store the results."""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks import cores, dataset, page, report, statements
from benchmarks.contestants import CONTESTANTS, PEER_PYTHON, installed_contestants
from benchmarks.fleet import Site
from benchmarks.forms import FORMS
from benchmarks.machine import describe_environment
from benchmarks.measurements import Plan
from benchmarks.operations import Operation, all_operations
from benchmarks.results import Results
from benchmarks.run import Run
from benchmarks.schedule import FULL_PLAN, QUICK_PLAN, Parts, choose_parts, estimate_seconds
from benchmarks.servers import PROJECT_ROOT
from benchmarks.trials import measure_ceiling, running_load_generator

# More than any server reaches, so that the requests of a trial are never used up.
MAX_DELETIONS_PER_SECOND: Final = 8_000
RESULTS: Final = PROJECT_ROOT / "benchmarks" / "results"
PAGE_CHART: Final = PROJECT_ROOT / "docs" / "benchmarks.svg"
# The results of `--quick` go there, because they are not meaningful.
QUICK_RESULTS: Final = PROJECT_ROOT / ".data" / "bench"


def main() -> int:
    """Run the benchmarks. Return 1 if a server failed or a response was not 2xx, otherwise 0."""
    options = _parse_options()
    layout = cores.choose_layout()
    plan = _choose_plan(options)
    operations = _select_operations(options.operations, plan)
    parts = choose_parts(options.form, only_open_loop=options.open_loop)
    _print_missing_contestants()
    _print_estimate(parts, plan, operations)
    options.output.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="bookshelf-bench-") as directory_name,
        dataset.running_database(Path(directory_name), layout, plan.books) as (url, data),
    ):
        directory = Path(directory_name)
        if options.statements:
            counts = statements.count_statements(url, data, operations, layout, directory)
            print(statements.counts_table(asyncio.run(counts)))
            return 0
        with running_load_generator(layout) as load_generator:
            results = Results(
                environment=describe_environment(),
                plan=plan,
                ceiling=measure_ceiling(load_generator, layout, directory, plan.usual),
                titles={operation.name: operation.title for operation in operations},
            )
            token = asyncio.run(dataset.create_token(url))
            run = Run(
                Site(url, layout, directory, token),
                data,
                load_generator,
                operations,
                results,
                options.output / "results.json",
            )
            run.measure(parts)
    if options.page:
        page.update_documents(results)
    return _print_results(results, options.output, draw_page_chart=options.page)


def _parse_options() -> argparse.Namespace:
    """Parse the command line. `--quick` replaces other options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    names = [*all_operations(0)]
    add("--form", choices=[form.name for form in FORMS], help="measure only one form (both)")
    add("--open-loop", action="store_true", help="measure only the open loop, or also --form")
    add("--rounds", type=int, help="trials of each server and operation (%(default)s)")
    add("--seconds", type=float, help="duration of a trial of a closed loop (%(default)s)")
    add("--open-loop-seconds", type=float, help="the same of the open loop (%(default)s)")
    add(
        "--concurrency",
        type=int,
        nargs="+",
        help="numbers of connections, the middle one for all servers (%(default)s)",
    )
    add("--books", type=int, help="rows of the table books (%(default)s)")
    add("--operations", nargs="+", choices=names, default=names, help="operations to measure (all)")
    add(
        "--quick",
        action="store_true",
        help="run one short round, to check that it works; ignores the options of the size",
    )
    add("--output", type=Path, default=RESULTS, help="directory of the results (%(default)s)")
    add("--page", action="store_true", help="also write the results into docs/ and the README")
    add("--statements", action="store_true", help="count SQL statements instead of measuring time")
    parser.set_defaults(**asdict(FULL_PLAN))
    options = parser.parse_args()
    if options.quick:
        vars(options).update(asdict(QUICK_PLAN))
        if options.output == RESULTS:
            options.output = QUICK_RESULTS
    return options


def _choose_plan(options: argparse.Namespace) -> Plan:
    """Return the size of the run that the options describe."""
    return Plan(
        options.rounds,
        options.seconds,
        options.concurrency,
        options.books,
        options.open_loop_seconds,
    )


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


def _print_estimate(parts: Parts, plan: Plan, operations: list[Operation]) -> None:
    """Print how long the run will take, if the machine does nothing else."""
    seconds = estimate_seconds(parts, plan, operations, len(installed_contestants()))
    print(f"This run takes about {seconds / 60:.0f} minutes.", file=sys.stderr, flush=True)


def _print_results(results: Results, output: Path, *, draw_page_chart: bool) -> int:
    """Print the tables and draw the chart. Return 1 if servers or requests failed, otherwise 0.

    The chart is written to `output`, or to docs/ if `draw_page_chart` is true.
    """
    results_file = output.resolve() / "results.json"
    tables = report.full_report(results)
    (output / "tables.md").write_text(tables)
    print(tables)
    # matplotlib is installed in the environment of the peers only.
    if PEER_PYTHON.exists() and results.trials:
        chart = PAGE_CHART if draw_page_chart else output.resolve() / "chart.svg"
        command = [str(PEER_PYTHON), "-m", "benchmarks.chart", str(results_file), str(chart)]
        subprocess.run(command, check=True, cwd=PROJECT_ROOT)
    failures = results.failures()
    for reason, count in failures.items():
        print(f"FAILED {count} times: {reason}", file=sys.stderr)
    for name, reason in results.problems.items():
        print(f"FAILED {name}: {reason}", file=sys.stderr)
    return 1 if failures or results.problems else 0


if __name__ == "__main__":
    sys.exit(main())
