"""A progress bar on standard error."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def create_progress_bar() -> "Progress":
    """Return a progress bar on standard error, which disappears when its block ends.

    It shows nothing if standard error is not a terminal.
    """
    # Imported lazily because a server imports this module, but never shows a progress bar.
    from rich import progress  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TimeElapsedColumn(),
        console=Console(stderr=True, highlight=False, emoji=False),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
