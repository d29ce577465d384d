"""Measure how costs grow, and draw the curves.

The number of books, connections, processes, rows before a page, items of a batch and bytes of a
file are varied one at a time. Each point is measured once per round, in turns.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Final

from benchmarks import cores
from benchmarks.contestants import PEER_PYTHON
from benchmarks.curves import page
from benchmarks.curves.bench import CurveBench
from benchmarks.curves.databases import running_databases
from benchmarks.curves.files import measure_files
from benchmarks.curves.load import measure_batches, measure_connections, measure_processes
from benchmarks.curves.results import CurveResults, Panel
from benchmarks.curves.tables import measure_depth, measure_rows
from benchmarks.machine import describe_environment
from benchmarks.servers import PROJECT_ROOT
from benchmarks.trials import running_load_generator

ROW_COUNTS: Final = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
RESULTS: Final = PROJECT_ROOT / "benchmarks" / "results"
MEASUREMENTS: Final[tuple[Callable[[CurveBench], Panel | list[Panel]], ...]] = (
    *(measure_rows, measure_depth, measure_connections, measure_processes, measure_batches),
    measure_files,
)


def main() -> None:
    """Fill the databases, measure all curves, and store and draw them."""
    options = _parse_options()
    layout = cores.choose_layout()
    sizes = [count for count in ROW_COUNTS if count <= options.max_books]
    with ExitStack() as stack:
        temporary_directory = tempfile.TemporaryDirectory(prefix="bookshelf-curves-")
        directory = Path(stack.enter_context(temporary_directory))
        databases = stack.enter_context(
            running_databases(options.databases or directory / "data", sizes, layout)
        )
        if options.only_load:
            return
        load_generator = stack.enter_context(running_load_generator(layout))
        bench = CurveBench(
            layout, directory, databases, load_generator, options.rounds, options.seconds
        )
        results = CurveResults(describe_environment(), options.rounds, list(_measure(bench)))
    _store(results, options.output, updates_page=options.page)


def _parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curves", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="(%(default)s)")
    add("--seconds", type=float, default=0.4, help="duration of a measurement (%(default)s)")
    add("--max-books", type=int, default=max(ROW_COUNTS), help="rows of the largest table")
    add("--databases", type=Path, help="directory of the databases, which is kept and used again")
    add("--only-load", action="store_true", help="only fill the databases")
    add("--output", type=Path, default=RESULTS, help="directory of the results (%(default)s)")
    add("--page", action="store_true", help="also write the tables and the chart into docs/")
    return parser.parse_args()


def _measure(bench: CurveBench) -> Iterator[Panel]:
    """Yield all panels, and print how long each measurement takes."""
    for measurement in MEASUREMENTS:
        started_at = monotonic()
        panels = measurement(bench)
        yield from [panels] if isinstance(panels, Panel) else panels
        print(f"{measurement.__name__}: {monotonic() - started_at:.0f} s", file=sys.stderr)


def _store(results: CurveResults, output: Path, *, updates_page: bool) -> None:
    """Store the results, print the tables, and draw the chart if matplotlib is installed."""
    output.mkdir(parents=True, exist_ok=True)
    results_file = output.resolve() / "curves.json"
    results.write(results_file)
    print(page.format_tables(results))
    chart = output.resolve() / "curves.svg"
    if updates_page:
        page.update_page(results)
        chart = page.PAGE.with_suffix(".svg")
    if PEER_PYTHON.exists():
        command = [str(PEER_PYTHON), "-m", "benchmarks.curves.chart"]
        subprocess.run([*command, str(results_file), str(chart)], check=True, cwd=PROJECT_ROOT)


if __name__ == "__main__":
    main()
