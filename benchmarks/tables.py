"""The tables of a run in Markdown, for the results of one form."""

from collections.abc import Iterable, Sequence
from math import isnan
from statistics import median
from typing import Final

from benchmarks.results import SERVICE, Results, without_deep_pages

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
_NO_FIGURE: Final = "-"


def summary_table(results: Results) -> str:
    """Return a table with the ratios of this service to each server, as geometric means."""
    connections = results.plan.usual
    operations = results.operations
    rows = []
    for server in results.servers:
        if server == SERVICE:
            continue
        rate = results.ratio("rate", server, connections, operations)
        shallow_rate = results.ratio("rate", server, connections, without_deep_pages(operations))
        cells = [f"**{format_figure(rate, '.2f')}**", format_figure(shallow_rate, ".2f")]
        for field in ("p50", "p99", "cpu"):
            ratio = results.ratio(field, server, connections, operations)
            cells.append(format_figure(ratio, ".2f"))
        memory = f"{_max_memory(results, SERVICE):.0f} / {_max_memory(results, server):.0f} MiB"
        rows.append([server, *cells, memory])
    heading = ["Bookshelf to", "requests/s", "without deep pages", "p50", "p99", "CPU/request"]
    return table([*heading, "memory"], rows)


def rates_table(results: Results) -> str:
    """Return a table with the requests per second of each operation and server."""
    rows = []
    for operation in results.operations:
        rates = [
            results.median("rate", server, operation, results.plan.usual)
            for server in results.servers
        ]
        cells = [format_figure(rate, ",.0f") for rate in rates]
        rows.append([f"`{results.titles[operation]}`", *cells])
    return table(["", *results.servers], rows)


def registrations_table(results: Results) -> str:
    """Return a table with the latencies of reads while users register.

    Returns an empty string if they were not measured.
    """
    if not results.registrations:
        return ""
    heading = ["", "alone: p50 ms", "p99", "with registrations: p50 ms", "p99", "longest"]
    fields = ("alone_p50", "alone_p99", "p50", "p99", "longest", "rate")
    rows = []
    for server in dict.fromkeys(measurement.server for measurement in results.registrations):
        measurements = [row for row in results.registrations if row.server == server]
        medians = [median(getattr(row, field) for row in measurements) for field in fields]
        rows.append([server, *(f"{value:.1f}" for value in medians)])
    return table([*heading, "registrations/s"], rows)


def details_table(results: Results, concurrency: int) -> str:
    """Return a table with all measurements for a number of connections.

    The last column is the ratio of this service to the server. In parentheses are the lowest and
    the highest ratio of a round.
    """
    rows = []
    for operation in results.operations:
        for server in results.servers:
            if not results.values("rate", server, operation, concurrency):
                continue
            cells = [
                format_figure(results.median(field, server, operation, concurrency), number_format)
                for field, _, number_format in _COLUMNS
            ]
            ratio = _rate_ratio(results, server, operation, concurrency)
            rows.append([f"`{results.titles[operation]}`", server, *cells, ratio])
    headings = [heading for _, heading, _ in _COLUMNS]
    return table(["operation", "server", *headings, "Bookshelf to it"], rows, text_columns=2)


def _rate_ratio(results: Results, server: str, operation: str, concurrency: int) -> str:
    """Return the ratio of the rates with the lowest and the highest one: `2.10 (1.90 to 2.31)`."""
    service_rates = results.values("rate", SERVICE, operation, concurrency)
    rates = results.values("rate", server, operation, concurrency)
    # A server that failed in the middle has fewer rounds. A rate may be 0.
    ratios = [
        service_rate / rate
        for service_rate, rate in zip(service_rates, rates, strict=False)
        if rate
    ]
    if not ratios:
        return _NO_FIGURE
    ratio = median(service_rates) / median(rates)
    return f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _max_memory(results: Results, server: str) -> float:
    """Return the highest memory of a server in any trial, in MiB."""
    return max(trial.memory for trial in results.trials if trial.server == server)


def format_figure(value: float, number_format: str) -> str:
    """Return a number as text, or a dash for not-a-number."""
    if isnan(value):
        return _NO_FIGURE
    return format(value, number_format)


def table(heading: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """Return a Markdown table. Its first columns contain text and are aligned to the left."""
    ruler = ["---"] * text_columns + ["---:"] * (len(heading) - text_columns)
    return "\n".join(f"| {' | '.join(row)} |" for row in [heading, ruler, *rows])
