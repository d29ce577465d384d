"""Check that no migration locks a large table for long. Squawk reads their SQL for this.

    python -m checks.migrations 0005

The argument is the newest revision that was released. The check needs no database. The revisions up
to the released one are checked as one script, because a new database has no rows when they create
its tables. Each later revision is checked separately, because it is applied to tables with rows and
is repeated from its start if it fails.
"""

import io
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

from alembic import command
from alembic.script import ScriptDirectory

from app import schema

ROOT: Final = Path(__file__).parents[1]
SQUAWK: Final = Path(sys.executable).parent / "squawk"


def lint_revisions(revision_range: str) -> str:
    """Return Squawk's report on a range of revisions, or "" if it finds no error.

    The range `0005:0006` is the upgrade from revision 0005 to 0006, and `0005` is the upgrade of an
    empty database to 0005.
    """
    sql = io.StringIO()
    config = schema.alembic_config()
    config.output_buffer = sql
    command.upgrade(config, revision_range, sql=True)
    options = ["--config", str(ROOT / ".squawk.toml"), "--stdin-filepath", f"{revision_range}.sql"]
    result = subprocess.run(
        [str(SQUAWK), *options], input=sql.getvalue(), capture_output=True, text=True, check=False
    )
    if result.returncode == 0:
        return ""
    return result.stdout + result.stderr


def ranges_to_check(released: str) -> Iterator[str]:
    """Yield the ranges of revisions that are checked separately.

    With "0005" as the released revision and two later ones, these are `0005`, `0005:0006` and
    `0006:0007`.
    """
    yield released
    scripts = ScriptDirectory.from_config(schema.alembic_config()).walk_revisions(released, "heads")
    revisions = [script.revision for script in scripts]
    revisions.reverse()
    for older, newer in pairwise(revisions):
        yield f"{older}:{newer}"


def main(released: str) -> int:
    """Print the reports on all migrations. Return the exit status, 1 if there is an error."""
    exit_status = 0
    for revision_range in ranges_to_check(released):
        report = lint_revisions(revision_range)
        if report:
            print(report, end="", file=sys.stderr)
            exit_status = 1
    return exit_status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
