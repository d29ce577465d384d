"""Check that migrations do not lock tables that have rows for long.

Squawk reads the SQL of the migrations, without a database. `python -m checks.migrations RELEASED`
takes the newest revision that was released. Squawk checks the revisions up to it as one script,
in which all tables are new. It checks each later revision separately, because a failed revision is
repeated from its start.
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


def find_faults(revision_range: str) -> str:
    """Return squawk's report on revisions such as `0005:0006`, or "" if they are safe."""
    sql = io.StringIO()
    config = schema.config()
    config.output_buffer = sql
    command.upgrade(config, revision_range, sql=True)
    options = ["--config", str(ROOT / ".squawk.toml"), "--stdin-filepath", f"{revision_range}.sql"]
    result = subprocess.run(
        [str(SQUAWK), *options], input=sql.getvalue(), capture_output=True, text=True, check=False
    )
    if result.returncode == 0:
        return ""
    return result.stdout + result.stderr


def revision_ranges(released: str) -> Iterator[str]:
    """Yield `0005` and, if there are two later revisions, `0005:0006` and `0006:0007`."""
    yield released
    scripts = ScriptDirectory.from_config(schema.config()).walk_revisions(released, "heads")
    revisions = [script.revision for script in scripts]
    revisions.reverse()
    for older, newer in pairwise(revisions):
        yield f"{older}:{newer}"


def main(released: str) -> int:
    faults = [find_faults(revision_range) for revision_range in revision_ranges(released)]
    print("".join(faults), end="", file=sys.stderr)
    return 1 if any(faults) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
