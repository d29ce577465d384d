"""Draw the curves of a run.

Run it as `python -m benchmarks.curves.chart FILE.json FILE.svg` in the virtual environment of the
peers, which contains matplotlib.
"""

import sys
from math import ceil
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.curves.results import CurveResults, Panel

_PANELS_PER_ROW: Final = 3


def draw_chart(results: CurveResults, path: Path) -> None:
    """Draw all panels into an SVG file."""
    # Keep text as text, and write the same file for the same results.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bookshelf", "font.size": 9})
    row_count = ceil(len(results.panels) / _PANELS_PER_ROW)
    figure, axes = plt.subplots(
        row_count, _PANELS_PER_ROW, figsize=(12, 3.2 * row_count), squeeze=False
    )
    for ax in axes.flat[len(results.panels) :]:
        ax.set_visible(False)
    for panel, ax in zip(results.panels, axes.flat, strict=False):
        _draw_panel(panel, ax)
    environment = results.environment
    figure.suptitle(
        f"Medians of {results.rounds} rounds. {environment['date']}, {environment['machine']}",
        fontsize=10,
    )
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})


def _draw_panel(panel: Panel, ax: Any) -> None:
    """Draw the curves of one panel, with the range of the rounds as a shadow."""
    for name in panel.curves:
        medians = panel.medians(name)
        points = panel.curves[name]
        (line,) = ax.plot(list(medians), list(medians.values()), marker="o", ms=3, label=name)
        ax.fill_between(
            list(medians),
            [min(points[x]) for x in medians],
            [max(points[x]) for x in medians],
            color=line.get_color(),
            alpha=0.15,
            linewidth=0,
        )
    ax.set_xscale("log")
    if panel.log_y:
        ax.set_yscale("log")
    else:
        ax.set_ylim(bottom=0)
    values = sorted({x for points in panel.curves.values() for x in points})
    ax.set_xticks(values, [_short_number(x) for x in values])
    ax.minorticks_off()
    ax.set_title(panel.title, fontsize=10, loc="left")
    ax.set_xlabel(panel.x_label)
    ax.set_ylabel(panel.y_label)
    ax.grid(alpha=0.3)
    if len(panel.curves) > 1:
        ax.legend(fontsize=7, frameon=False)


def _short_number(number: int) -> str:
    """Return, for example, `10k` or `1M`."""
    for unit, suffix in ((1_000_000, "M"), (1_000, "k")):
        if number >= unit and number % unit == 0:
            return f"{number // unit}{suffix}"
    return str(number)


if __name__ == "__main__":
    draw_chart(CurveResults.read(Path(sys.argv[1])), Path(sys.argv[2]))
