"""Writes the tables of the curves into `docs/cost-curves.md`."""

from pathlib import Path
from typing import Final

from benchmarks.curves.results import CurveResults, Panel
from benchmarks.servers import PROJECT_ROOT

PAGE: Final = PROJECT_ROOT / "docs" / "cost-curves.md"
# `python -m benchmarks.curves --page` replaces the part of the page between these two comments.
BEGIN_COMMENT: Final = "<!-- begin: written by python -m benchmarks.curves -->"
END_COMMENT: Final = "<!-- end: written by python -m benchmarks.curves -->"


def update_page(results: CurveResults, page: Path = PAGE) -> None:
    """Replace the tables in the page with those of a run."""
    before, _, rest = page.read_text().partition(BEGIN_COMMENT)
    _, _, after = rest.partition(END_COMMENT)
    page.write_text(
        "\n\n".join([before + BEGIN_COMMENT, format_tables(results), END_COMMENT]) + after
    )


def format_tables(results: CurveResults) -> str:
    """Return Markdown with a description of the run and the medians of all panels."""
    date, machine = results.environment["date"], results.environment["machine"]
    sections = [f"Medians of {results.rounds} interleaved rounds on {date}: {machine}."]
    for panel in results.panels:
        sections += [f"### {panel.title}", _format_table(panel)]
    return "\n\n".join(sections)


def _format_table(panel: Panel) -> str:
    """Return a table with a row for each x and a column for each curve."""
    medians = {name: panel.medians(name) for name in panel.curves}
    rows = [
        [panel.x_label, *(f"{name}, {panel.y_label}" for name in medians)],
        ["---:"] * (len(medians) + 1),
    ]
    for x in sorted({x for points in medians.values() for x in points}):
        cells = [_format_value(points.get(x)) for points in medians.values()]
        rows.append([f"{x:,}", *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _format_value(value: float | None) -> str:
    """Return a number with three significant digits, or nothing if it was not measured."""
    if value is None:
        return ""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
