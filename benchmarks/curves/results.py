"""The measured curves, which are stored as JSON.

The module uses the standard library only, because the chart is drawn in another environment.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any


@dataclass
class Panel:
    """The curves that share the axes of a chart.

    Args:
        title: The heading.
        x_label: What was varied, for example "books in the table".
        y_label: What was measured, with its unit, for example "ms".
        curves: For each curve by its name the measured values of each x, one value per round.
        log_y: Whether the y axis is logarithmic. The x axis always is.
    """

    title: str
    x_label: str
    y_label: str
    curves: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    log_y: bool = True

    def add(self, curve: str, x: int, value: float) -> None:
        """Add the value that one round has measured."""
        self.curves.setdefault(curve, {}).setdefault(x, []).append(value)

    def medians(self, curve: str) -> dict[int, float]:
        """Return the median of all rounds for each x of a curve, in the order of x."""
        return {x: median(values) for x, values in sorted(self.curves[curve].items())}


@dataclass(frozen=True)
class CurveResults:
    """The panels of one run.

    Args:
        environment: The date, the machine and the versions of packages.
        rounds: The number of interleaved rounds.
        panels: The panels, in the order of the page.
    """

    environment: dict[str, Any]
    rounds: int
    panels: Sequence[Panel]

    def write(self, path: Path) -> None:
        """Store the results in a JSON file."""
        path.write_text(json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, path: Path) -> "CurveResults":
        """Read the results from a JSON file."""
        content = json.loads(path.read_text())
        panels = []
        for fields in content["panels"]:
            # The keys of JSON objects are strings.
            curves = {
                name: {int(x): values for x, values in points.items()}
                for name, points in fields["curves"].items()
            }
            panels.append(Panel(**{**fields, "curves": curves}))
        return cls(content["environment"], content["rounds"], panels)
