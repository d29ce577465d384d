"""How `python -m benchmarks.curves` stores its results, and the page that shows them."""

from pathlib import Path

import pytest

from benchmarks.curves import page
from benchmarks.curves.results import CurveResults, Panel

ENVIRONMENT = {"date": "2026-11-30", "machine": "2 cores"}


@pytest.fixture
def results() -> CurveResults:
    """Results with one panel, whose second curve was measured at one point only."""
    panel = Panel("Rows", "rows", "ms")
    for value in (3.0, 1.0, 2.0):
        panel.add("by cursor", 1_000, value)
        panel.add("by cursor", 10, value / 10)
        panel.add("by number", 1_000, value * 1_000)
    return CurveResults(ENVIRONMENT, 3, [panel])


def test_stored_results_are_read_again(results: CurveResults, tmp_path: Path) -> None:
    results.write(tmp_path / "curves.json")
    assert CurveResults.read(tmp_path / "curves.json") == results


def test_page_shows_the_medians_of_all_curves_and_keeps_the_other_text(
    results: CurveResults, tmp_path: Path
) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"before\n\n{page.BEGIN_COMMENT}\nold\n{page.END_COMMENT}\n\nafter\n")
    for _ in range(2):
        page.update_page(results, file)
    text = file.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\n\nafter\n")
    assert "old" not in text
    assert text.count(page.BEGIN_COMMENT) == text.count(page.END_COMMENT) == 1
    assert "| 10 | 0.2 |  |\n| 1,000 | 2 | 2,000 |\n" in text


def test_page_of_the_repository_has_a_part_for_the_tables() -> None:
    text = page.PAGE.read_text()
    assert text.index(page.BEGIN_COMMENT) < text.index(page.END_COMMENT)
