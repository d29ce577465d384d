"""Prints Markdown tables row by row."""

from collections.abc import Sequence
from statistics import median


def print_heading(*cells: str) -> None:
    """Print the first two lines of a table. All columns except for the first contain numbers."""
    print()
    print_row(*cells)
    print_row("---", *["---:"] * (len(cells) - 1))


def print_row(*cells: str) -> None:
    """Print one line of a table."""
    print(f"| {' | '.join(cells)} |", flush=True)


def median_and_range(values: Sequence[float]) -> str:
    """Return, for example, `1.23 (1.1 to 1.4)`."""
    return f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})"
