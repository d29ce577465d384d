"""Results as Markdown tables.

`python -m benchmarks.report FILE.json` prints all tables of a run. With `--page`, it writes the
most important ones into `docs/benchmarks.md`.
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.results import BOOKSHELF, LIMIT, Results, without_deep_pages
from benchmarks.servers import PROJECT_ROOT

PAGE: Final = PROJECT_ROOT / "docs" / "benchmarks.md"
TUTORIAL, ALCHEMY = "tutorial", "FastAPI + Advanced Alchemy"
# `make bench BENCH_ARGS=--page` replaces the part of the page between these two comments.
BEGIN_COMMENT, END_COMMENT = (
    "<!-- begin: written by make bench -->",
    "<!-- end: written by make bench -->",
)
FIRST_PAGE, DEEPEST_PAGE = "list_books_0", "list_books_100000"
_SUMMARY_EXPLANATION: Final = (
    "Each row compares this service with one peer. For example, 2 in the column requests/s means "
    "that this service handles twice as many requests as the peer."
)
# Field of a trial, heading, format.
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
    """All tables."""
    plan = results.plan
    parts = [
        f"# Benchmarks of {results.environment['date']}",
        describe_run(results),
        f"## In geometric mean, {plan.usual} connections",
        summary_table(results),
        f"## Requests per second, {plan.usual} connections",
        rates_table(results),
        "## Reads while users register",
        registrations_table(results),
        "## What we want of it",
        targets_table(results),
    ]
    for concurrency in plan.concurrency:
        parts += [f"## Everything, connections: {concurrency}", details_table(results, concurrency)]
    return "\n\n".join(part for part in parts if part) + "\n"


def update_page(results: Results) -> None:
    """Replace the tables in `docs/benchmarks.md` by those of these results."""
    before, _, rest = PAGE.read_text().partition(BEGIN_COMMENT)
    _, _, after = rest.partition(END_COMMENT)
    parts = [
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
    PAGE.write_text("\n\n".join([before + BEGIN_COMMENT, *parts, END_COMMENT + after]))


def describe_run(results: Results) -> str:
    """How and on what it was measured, in a paragraph."""
    plan, found = results.plan, results.environment
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    return (
        f"{found['machine']}. Medians of {plan.rounds} interleaved rounds of {plan.seconds:g} s;"
        f" {plan.books:,} books. {packages}. The load generator could ask"
        f" {results.ceiling:,.0f} requests/s."
    )


def summary_table(results: Results) -> str:
    """Ours to each, in geometric mean over the operations."""
    usual, names = results.plan.usual, results.operations
    rows = [
        [
            server,
            f"**{results.ratio('rate', server, usual, names):.2f}**",
            f"{results.ratio('rate', server, usual, without_deep_pages(names)):.2f}",
            *(f"{results.ratio(name, server, usual, names):.2f}" for name in ("p50", "p99", "cpu")),
            f"{_memory(results, BOOKSHELF):.0f} / {_memory(results, server):.0f} MiB",
        ]
        for server in results.servers
        if server != BOOKSHELF
    ]
    heading = ("Bookshelf to", "requests/s", "without deep pages", "p50", "p99", "CPU/request")
    return _table([*heading, "memory"], rows)


def rates_table(results: Results) -> str:
    """Requests per second of everybody."""
    rows = [
        [
            f"`{results.titles[name]}`",
            *(
                f"{results.median('rate', server, name, results.plan.usual):,.0f}"
                for server in results.servers
            ),
        ]
        for name in results.operations
    ]
    return _table(["", *results.servers], rows)


def registrations_table(results: Results) -> str:
    """What `POST /users` does to reads."""
    heading = [
        "",
        "alone: p50 ms",
        "p99",
        "with registrations: p50 ms",
        "p99",
        "longest",
        "registrations/s",
    ]
    names = ("alone_p50", "alone_p99", "p50", "p99", "longest", "rate")
    found = results.registrations
    rows = [
        [
            server,
            *(
                f"{median(getattr(row, name) for row in found if row.server == server):.1f}"
                for name in names
            ),
        ]
        for server in dict.fromkeys(row.server for row in found)
    ]
    return _table(heading, rows) if rows else ""


def targets_table(results: Results) -> str:
    """What we want, what it is, and whether that will do."""
    usual, names, most = results.plan.usual, results.operations, max(results.plan.concurrency)

    def ratio(name: str, server: str) -> float:
        return results.ratio(name, server, usual, names)

    wanted: list[tuple[str, str, float, float, bool]] = []
    if TUTORIAL in results.servers:
        wanted += [
            ("requests/s to the tutorial's", "at least", 3.5, ratio("rate", TUTORIAL), True),
            ("p99 to the tutorial's", "at most", 0.4, ratio("p99", TUTORIAL), False),
            ("memory to the tutorial's", "at most", 1.0, ratio("memory", TUTORIAL), False),
        ]
    if ALCHEMY in results.servers:
        wanted.append(
            ("requests/s to Advanced Alchemy's", "at least", 5.0, ratio("rate", ALCHEMY), True)
        )
    if LIMIT in results.servers:
        wanted.append(("requests/s to the limit's", "at least", 0.3, ratio("rate", LIMIT), True))
    longest = max(max(results.values("longest", BOOKSHELF, name, most)) for name in names)
    wanted.append((f"longest answer with {most} connections, ms", "at most", 1000, longest, False))
    if {FIRST_PAGE, DEEPEST_PAGE} <= set(names):
        first, deepest = (
            results.median("rate", BOOKSHELF, name, usual) for name in (FIRST_PAGE, DEEPEST_PAGE)
        )
        wanted.append(("the deepest page to the first", "at least", 0.8, deepest / first, True))
    rows = [
        [what, f"{word} {bound:g}", f"{value:.2f}", "yes" if (value >= bound) == more else "**no**"]
        for what, word, bound, value, more in wanted
    ]
    return _table(["in geometric mean", "wanted", "is", ""], rows)


def details_table(results: Results, concurrency: int) -> str:
    """Each operation and server; the ratio is ours to theirs, and in parentheses of the rounds."""
    rows = []
    for name in results.operations:
        ours = results.values("rate", BOOKSHELF, name, concurrency)
        for server in results.servers:
            theirs = results.values("rate", server, name, concurrency)
            cells = [
                f"{results.median(field, server, name, concurrency):{form}}"
                for field, _, form in _COLUMNS
            ]
            rounds = [mine / max(other, 1e-9) for mine, other in zip(ours, theirs, strict=True)]
            ratio = f"{median(ours) / max(median(theirs), 1e-9):.2f}"
            ratio += f" ({min(rounds):.2f} to {max(rounds):.2f})"
            rows.append([f"`{results.titles[name]}`", server, *cells, ratio])
    heading = ["operation", "server", *(heading for _, heading, _ in _COLUMNS)]
    return _table([*heading, "Bookshelf to it"], rows, names=2)


def _memory(results: Results, server: str) -> float:
    """MiB, the most of all trials."""
    return max(trial.memory for trial in results.trials if trial.server == server)


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]], names: int = 1) -> str:
    ruler = ["---"] * names + ["---:"] * (len(heading) - names)
    return "\n".join(f"| {' | '.join(row)} |" for row in [heading, ruler, *rows])


def main() -> None:
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
