"""Draw the results of a run as a chart.

Run it as `python -m benchmarks.chart FILE.json FILE.svg` in the virtual environment of the peers,
which contains matplotlib.
"""

import sys
from math import ceil, isnan
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.results import LIMIT, SERVICE, Results

_COLORS: Final = {SERVICE: "#1f6feb", LIMIT: "#b0b7c0"}
_PEER_COLOR: Final = "#d0865a"
_PANELS_PER_ROW: Final = 3
# The position of a bar relative to its server, and its opacity, by form.
_BARS: Final = {"plain": (0.2, 1.0), "production": (-0.2, 0.5)}


def draw_chart(results: Results, path: Path) -> None:
    """Draw a panel for each operation, with bars for each server, into an SVG file.

    A server has a bar for each form that was measured.
    """
    # Keep text as text, and write the same file for the same results.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bookshelf", "font.size": 9})
    row_count = ceil(len(results.operations) / _PANELS_PER_ROW)
    figure, panels = plt.subplots(
        row_count, _PANELS_PER_ROW, figsize=(11, 3.2 * row_count + 1.2), sharey=True, squeeze=False
    )
    # Hide the unused panels of the last row.
    for panel in panels.flat[len(results.operations) :]:
        panel.set_visible(False)
    for operation, panel in zip(results.operations, panels.flat, strict=False):
        _draw_panel(results, operation, panel)
    plan = results.plan
    environment = results.environment
    figure.suptitle(
        f"Requests per second, {plan.usual} connections, medians of {plan.rounds} rounds;"
        f" {plan.books:,} books\n{environment['date']}, {environment['machine']}\n"
        "dark: plain; light: production (log, token, two processes, 1 ms network)",
        fontsize=10,
    )
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})


def _draw_panel(results: Results, operation: str, panel: Any) -> None:
    """Draw the bars of one operation, the first server at the top."""
    servers = results.servers[::-1]
    colors = [_COLORS.get(server, _PEER_COLOR) for server in servers]
    highest_rate = 1.0
    for form, (offset, opacity) in _BARS.items():
        of_form = results.of_form(form)
        medians = [
            of_form.median("rate", server, operation, results.plan.usual) for server in servers
        ]
        rates = [0.0 if isnan(rate) else rate for rate in medians]
        positions = [position + offset for position in range(len(servers))]
        bars = panel.barh(positions, rates, height=0.38, color=colors, alpha=opacity)
        labels = [f"{rate:,.0f}" if rate else "" for rate in rates]
        panel.bar_label(bars, labels, padding=2, fontsize=7)
        highest_rate = max(highest_rate, *rates)
    panel.set_yticks(range(len(servers)), servers)
    panel.set_title(results.titles[operation], fontsize=9, loc="left")
    panel.set_xlim(0, highest_rate * 1.18)
    panel.set_xticks([])
    panel.spines[["top", "right", "bottom"]].set_visible(False)


if __name__ == "__main__":
    draw_chart(Results.read(Path(sys.argv[1])), Path(sys.argv[2]))
