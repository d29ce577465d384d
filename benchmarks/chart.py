"""Results as a chart: python -m benchmarks.chart FILE.json FILE.svg, with the peers' Python."""

import sys
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.results import BOOKSHELF, LIMIT, Results

_COLORS: Final = {BOOKSHELF: "#1f6feb", LIMIT: "#b0b7c0"}
_PEER_COLOR: Final = "#d0865a"
_PANELS_PER_ROW: Final = 3  # panels beside each other


def draw_chart(results: Results, path: Path) -> None:
    """A panel for each operation, a bar for each server."""
    # Text stays text, and the same results are the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bookshelf", "font.size": 9})
    rows = -(-len(results.operations) // _PANELS_PER_ROW)
    figure, panels = plt.subplots(
        rows, _PANELS_PER_ROW, figsize=(11, 2.2 * rows + 0.9), sharey=True, squeeze=False
    )
    for panel in panels.flat[len(results.operations) :]:
        panel.set_visible(False)
    for name, panel in zip(results.operations, panels.flat, strict=False):
        _draw_panel(results, name, panel)
    plan, found = results.plan, results.environment
    figure.suptitle(
        f"Requests per second, {plan.usual} connections, medians of {plan.rounds} rounds;"
        f" {plan.books:,} books\n{found['date']}, {found['machine']}",
        fontsize=10,
    )
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})


def _draw_panel(results: Results, operation: str, panel: Any) -> None:
    servers = results.servers[::-1]
    rates = [results.median("rate", who, operation, results.plan.usual) for who in servers]
    bars = panel.barh(servers, rates, color=[_COLORS.get(who, _PEER_COLOR) for who in servers])
    panel.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=2, fontsize=8)
    panel.set_title(results.titles[operation], fontsize=9, loc="left")
    panel.set_xlim(0, max(rates) * 1.18)
    panel.set_xticks([])
    panel.spines[["top", "right", "bottom"]].set_visible(False)


if __name__ == "__main__":
    draw_chart(Results.read(Path(sys.argv[1])), Path(sys.argv[2]))
