"""Do migrations lock tables that have rows for long? Squawk reads their SQL, without a database.

`python -m checks.migrations RELEASED` takes the newest revision that was released. Everything up
to it is one script, which nobody runs on tables that have rows. Each revision after it is a script
of its own, because a revision that fails is repeated as a whole.
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
    """Return what squawk says of revisions such as `0005:0006`, or nothing if they are safe."""
    config = schema.config()
    config.output_buffer = sql = io.StringIO()
    command.upgrade(config, revision_range, sql=True)
    options = ["--config", str(ROOT / ".squawk.toml"), "--stdin-filepath", f"{revision_range}.sql"]
    result = subprocess.run(
        [str(SQUAWK), *options], input=sql.getvalue(), capture_output=True, text=True, check=False
    )
    return "" if result.returncode == 0 else result.stdout + result.stderr


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
