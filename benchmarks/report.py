"""Results as Markdown tables.

`python -m benchmarks.report FILE.json` prints all tables of a run. With `--page`, it writes the
most important ones into `docs/benchmarks.md`.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.results import SERVICE, Results, without_deep_pages
from benchmarks.servers import PROJECT_ROOT
from benchmarks.targets import compute_targets

PAGE: Final = PROJECT_ROOT / "docs" / "benchmarks.md"
# `make bench BENCH_ARGS=--page` replaces the part of the page between these two comments.
BEGIN_COMMENT: Final = "<!-- begin: written by make bench -->"
END_COMMENT: Final = "<!-- end: written by make bench -->"
_SUMMARY_EXPLANATION: Final = (
    "Each row compares this service with one peer. For example, 2 in the column requests/s means "
    "that this service handles twice as many requests as the peer."
)
# The columns of the details: field of a trial, heading, number format.
_COLUMNS: Final = (
    ("rate", "requests/s", ".0f"),
    ("p50", "p50 ms", ".1f"),
    ("p99", "p99 ms", ".1f"),
    ("longest", "longest ms", ".0f"),
    ("cpu", "CPU µs/request", ".0f"),
    ("busy", "core busy %", ".0f"),
    ("memory", "memory MiB", ".0f"),
)


def full_report(results: Results) -> str:
    """Return a Markdown document with all tables of a run."""
    plan = results.plan
    sections = [
        f"# Benchmarks of {results.environment['date']}",
        describe_run(results),
        f"## Geometric means, {plan.usual} connections",
        summary_table(results),
        f"## Requests per second, {plan.usual} connections",
        rates_table(results),
        "## Latency of reads while users register",
        registrations_table(results),
        "## Targets",
        targets_table(results),
    ]
    for concurrency in plan.concurrency:
        sections += [f"## All measurements, connections: {concurrency}"]
        sections += [details_table(results, concurrency)]
    return "\n\n".join(section for section in sections if section) + "\n"


def update_page(results: Results) -> None:
    """Replace the tables in `docs/benchmarks.md` with those of a run."""
    before, _, rest = PAGE.read_text().partition(BEGIN_COMMENT)
    _, _, after = rest.partition(END_COMMENT)
    sections = [
        f"`make bench` on {results.environment['date']}: {describe_run(results)}",
        f"### Geometric means, {results.plan.usual} connections",
        _SUMMARY_EXPLANATION,
        summary_table(results),
        f"### Requests per second, {results.plan.usual} connections",
        rates_table(results),
        "### Latency of reads while users register",
        "Latencies of `GET /books/{id}`, alone and while other connections register users.",
        registrations_table(results),
    ]
    page = "\n\n".join([before + BEGIN_COMMENT, *sections, END_COMMENT + after])
    PAGE.write_text(page)


def describe_run(results: Results) -> str:
    """Return a paragraph about the machine, the size of the run and the versions of packages."""
    plan = results.plan
    environment = results.environment
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    return (
        f"{environment['machine']}. Medians of {plan.rounds} interleaved rounds of"
        f" {plan.seconds:g} s; {plan.books:,} books. {packages}. The load generator alone reaches"
        f" {results.ceiling:,.0f} requests/s."
    )


def summary_table(results: Results) -> str:
    """Return a table with the ratios of this service to each server, as geometric means."""
    connections = results.plan.usual
    operations = results.operations
    shallow_operations = without_deep_pages(operations)
    rows = []
    for server in results.servers:
        if server == SERVICE:
            continue
        rate = results.ratio("rate", server, connections, operations)
        shallow_rate = results.ratio("rate", server, connections, shallow_operations)
        other_ratios = [
            results.ratio(field, server, connections, operations) for field in ("p50", "p99", "cpu")
        ]
        memory = f"{_max_memory(results, SERVICE):.0f} / {_max_memory(results, server):.0f} MiB"
        cells = [f"**{rate:.2f}**", f"{shallow_rate:.2f}"]
        cells += [f"{ratio:.2f}" for ratio in other_ratios]
        rows.append([server, *cells, memory])
    heading = [
        "Bookshelf to",
        "requests/s",
        "without deep pages",
        "p50",
        "p99",
        "CPU/request",
        "memory",
    ]
    return _table(heading, rows)


def rates_table(results: Results) -> str:
    """Return a table with the requests per second of each operation and server."""
    rows = []
    for operation in results.operations:
        rates = [
            results.median("rate", server, operation, results.plan.usual)
            for server in results.servers
        ]
        rows.append([f"`{results.titles[operation]}`", *(f"{rate:,.0f}" for rate in rates)])
    return _table(["", *results.servers], rows)


def registrations_table(results: Results) -> str:
    """Return a table with the latencies of reads while users register.

    Returns an empty string if they were not measured.
    """
    if not results.registrations:
        return ""
    heading = [
        "",
        "alone: p50 ms",
        "p99",
        "with registrations: p50 ms",
        "p99",
        "longest",
        "registrations/s",
    ]
    fields = ("alone_p50", "alone_p99", "p50", "p99", "longest", "rate")
    rows = []
    for server in dict.fromkeys(measurement.server for measurement in results.registrations):
        measurements = [row for row in results.registrations if row.server == server]
        medians = [median(getattr(row, field) for row in measurements) for field in fields]
        rows.append([server, *(f"{value:.1f}" for value in medians)])
    return _table(heading, rows)


def targets_table(results: Results) -> str:
    """Return a table with each target, the measured value, and whether the target is reached."""
    rows = []
    for target in compute_targets(results):
        bound = f"{target.word} {target.bound:g}"
        verdict = "yes" if target.is_reached else "**no**"
        rows.append([target.description, bound, f"{target.value:.2f}", verdict])
    return _table(["geometric mean", "target", "measured", "reached"], rows)


def details_table(results: Results, concurrency: int) -> str:
    """Return a table with all measurements for a number of connections.

    The last column is the ratio of this service to the server. In parentheses are the lowest and
    the highest ratio of a round.
    """
    rows = []
    for operation in results.operations:
        service_rates = results.values("rate", SERVICE, operation, concurrency)
        for server in results.servers:
            rates = results.values("rate", server, operation, concurrency)
            cells = [
                f"{results.median(field, server, operation, concurrency):{number_format}}"
                for field, _, number_format in _COLUMNS
            ]
            # The lower bound avoids a division by zero.
            ratios = [
                service_rate / max(rate, 1e-9)
                for service_rate, rate in zip(service_rates, rates, strict=True)
            ]
            ratio = median(service_rates) / max(median(rates), 1e-9)
            ratio_cell = f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            rows.append([f"`{results.titles[operation]}`", server, *cells, ratio_cell])
    headings = [heading for _, heading, _ in _COLUMNS]
    return _table(["operation", "server", *headings, "Bookshelf to it"], rows, text_columns=2)


def _max_memory(results: Results, server: str) -> float:
    """Return the highest memory of a server in any trial, in MiB."""
    return max(trial.memory for trial in results.trials if trial.server == server)


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """Return a Markdown table. Its first columns contain text and are aligned to the left."""
    ruler = ["---"] * text_columns + ["---:"] * (len(heading) - text_columns)
    return "\n".join(f"| {' | '.join(row)} |" for row in [heading, ruler, *rows])


def main() -> None:
    """Print the tables of a run, or write them into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("results", type=Path, help="the results.json of a run")
    parser.add_argument("--page", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args()
    results = Results.read(options.results)
    if options.page:
        update_page(results)
    else:
        print(full_report(results), end="")


if __name__ == "__main__":
    main()
