"""Writes the results of a run into `docs/benchmarks.md` and the README."""

from pathlib import Path
from typing import Final

from benchmarks import production_tables, tables
from benchmarks.forms import PLAIN, PRODUCTION
from benchmarks.results import SERVICE, Results
from benchmarks.servers import PROJECT_ROOT

PAGE: Final = PROJECT_ROOT / "docs" / "benchmarks.md"
README: Final = PROJECT_ROOT / "README.md"
# `make bench BENCH_ARGS=--page` replaces the part of a document between these two comments.
BEGIN_COMMENT: Final = "<!-- begin: written by make bench -->"
END_COMMENT: Final = "<!-- end: written by make bench -->"
_SUMMARY_EXPLANATION: Final = (
    "Each row compares this service with one peer. For example, 2 in the column requests/s means "
    "that this service handles twice as many requests as the peer."
)
_OPEN_LOOP_EXPLANATION: Final = (
    "Latencies of a mix of reads in the form `production`. Requests arrive at random times, at 50, "
    "70 and 90 % of the rate that the same server reaches in a closed loop (its capacity), so a "
    "fast server gets more requests than a slow one."
)
_MEMORY_EXPLANATION: Final = (
    "Pages that several processes share are counted once. The last column is what each further "
    "process adds."
)


def update_documents(results: Results) -> None:
    """Replace the generated parts of `docs/benchmarks.md` and the README."""
    sections = "\n\n".join(page_sections(results))
    replace_generated_part(PAGE, f"\n{sections}\n")
    replace_generated_part(README, readme_table(results))


def replace_generated_part(document: Path, text: str) -> None:
    """Replace the lines between the two comments in a document."""
    before, begin, rest = document.read_text().partition(BEGIN_COMMENT)
    _, end, after = rest.partition(END_COMMENT)
    if not begin or not end:
        raise ValueError(f"{document} does not contain {BEGIN_COMMENT} and {END_COMMENT}")
    document.write_text("\n".join([before + BEGIN_COMMENT, text, END_COMMENT + after]))


def page_sections(results: Results) -> list[str]:
    """Return the paragraphs and tables of `docs/benchmarks.md`."""
    usual = results.plan.usual
    sections = [f"`make bench` on {results.environment['date']}: {describe_run(results)}"]
    for form in (PLAIN, PRODUCTION):
        of_form = results.of_form(form.name)
        if of_form.trials:
            sections += [
                f"### Form `{form.name}`: geometric means, {usual} connections",
                _SUMMARY_EXPLANATION,
                tables.summary_table(of_form),
                f"### Form `{form.name}`: requests per second, {usual} connections",
                tables.rates_table(of_form),
            ]
    if results.open_loop:
        sections += ["### Latency at fixed rates of requests", _OPEN_LOOP_EXPLANATION]
        sections += [production_tables.open_loop_table(results)]
    if results.memory:
        sections += ["### Memory by number of processes", _MEMORY_EXPLANATION]
        sections += [production_tables.memory_table(results)]
    if results.registrations:
        sections += [
            "### Latency of reads while users register",
            "Latencies of `GET /books/{id}`, alone and while other connections register users.",
            tables.registrations_table(results),
        ]
    if results.problems:
        names = "; ".join(results.problems)
        sections += [f"These servers failed, so that figures are missing: {names}."]
    return sections


def readme_table(results: Results) -> str:
    """Return the table of the README: the requests per second of this service to each peer."""
    peers = [server for server in results.servers if server != SERVICE]
    rows = []
    for form in (PLAIN, PRODUCTION):
        of_form = results.of_form(form.name)
        if not of_form.trials:
            continue
        ratios = [
            of_form.ratio("rate", peer, results.plan.usual, of_form.operations) for peer in peers
        ]
        rows.append([form.name, *(tables.format_figure(ratio, ".2f") for ratio in ratios)])
    return tables.table(["form", *peers], rows)


def describe_run(results: Results) -> str:
    """Return a paragraph about the machine, the size of the run and the versions of packages."""
    plan = results.plan
    environment = results.environment
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    round_trips = ", ".join(
        f"{milliseconds:.2f} ms in the form `{form}`"
        for form, milliseconds in results.round_trips.items()
    )
    return (
        f"{environment['machine']}. Medians of {plan.rounds} interleaved rounds of"
        f" {plan.seconds:g} s ({plan.open_loop_seconds:g} s at fixed rates); {plan.books:,} books."
        f" {packages}. The load generator alone reaches {results.ceiling:,.0f} requests/s."
        f" A round trip to Postgres takes {round_trips or 'an unknown time'}."
    )
