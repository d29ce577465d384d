"""Prints all tables of a run: `python -m benchmarks.report FILE.json`.

With `--page`, it writes the most important ones into `docs/benchmarks.md` and the README.
"""

import argparse
from pathlib import Path

from benchmarks import page, production_tables, tables
from benchmarks.forms import FORMS
from benchmarks.results import Results


def full_report(results: Results) -> str:
    """Return a Markdown document with all tables of a run."""
    plan = results.plan
    sections = [f"# Benchmarks of {results.environment['date']}", page.describe_run(results)]
    for form in FORMS:
        of_form = results.of_form(form.name)
        if of_form.trials:
            sections += [
                f"## Geometric means, form {form.name}, {plan.usual} connections",
                tables.summary_table(of_form),
                f"## Requests per second, form {form.name}, {plan.usual} connections",
                tables.rates_table(of_form),
            ]
    other_tables = {
        "Latency at fixed rates of requests": production_tables.open_loop_table(results),
        "Memory by number of processes": production_tables.memory_table(results),
        "Latency of reads while users register": tables.registrations_table(results),
        "Targets": production_tables.targets_table(results),
    }
    for heading, text in other_tables.items():
        if text:
            sections += [f"## {heading}", text]
    for form in FORMS:
        of_form = results.of_form(form.name)
        for concurrency in sorted({trial.concurrency for trial in of_form.trials}):
            sections += [
                f"## All measurements, form {form.name}, connections: {concurrency}",
                tables.details_table(of_form, concurrency),
            ]
    problems = [f"- {name}: {reason}" for name, reason in results.problems.items()]
    if problems:
        sections += ["## Servers that failed", "\n".join(problems)]
    return "\n\n".join(sections) + "\n"


def main() -> None:
    """Print the tables of a run, or write them into the documents."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("results", type=Path, help="the results.json of a run")
    parser.add_argument("--page", action="store_true", help="write docs/ and the README")
    options = parser.parse_args()
    results = Results.read(options.results)
    if options.page:
        page.update_documents(results)
    else:
        print(full_report(results), end="")


if __name__ == "__main__":
    main()
