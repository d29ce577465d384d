"""Write a migration from the difference between the models and the existing migrations.

`python -m tools.revision "create publishers"` runs the existing migrations in a temporary Postgres
server, and compares the result with the models. It does not use the database of DATABASE_URL or of
`make run`.
"""

import io
import re
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final

from alembic import command
from alembic.script import Script
from alembic.util import CommandError
from sqlalchemy.engine import make_url

from app import embedded, schema
from checks.migrations import lint_revisions
from tools.repository import ROOT

NO_MESSAGE: Final = 'Describe the revision, for example: make revision MESSAGE="create publishers"'
# These characters would end or change the docstring of the revision, which contains the message.
FORBIDDEN_CHARACTERS: Final = set('"\\')
NO_DIFFERENCE: Final = (
    "The migrations already create everything that the models (app/tables.py) declare, so no"
    " revision was written."
)
REVIEW_ADVICE: Final = """\
Review it before you commit it. It was made by comparing tables, columns, indexes, foreign keys,
unique constraints and the names of check constraints. The comparison does not find functions,
triggers, a changed check constraint or generated column, or rows that have to change. A renamed
column looks like a removed one and a new one. `make migrate` applies the revision."""
UNSAFE_REVISION: Final = (
    "`make check` will reject it. Change the revision as squawk recommends, or delete it, change"
    " the models and write a new one."
)
# These settings make writes faster. The data of this server need not survive a crash.
POSTGRES_SETTINGS: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def main(message: str) -> None:
    """Write a revision with a message such as "create publishers", and print its path."""
    message = " ".join(message.split())
    # The name of the file consists of the words of the message, so there must be at least one.
    if not re.search(r"\w", message):
        sys.exit(NO_MESSAGE)
    if not message.isprintable() or FORBIDDEN_CHARACTERS & set(message):
        sys.exit("The message must not contain quotation marks or backslashes.")
    try:
        scripts = write_revisions(message)
    except (embedded.EmbeddedError, CommandError) as error:
        sys.exit(str(error))
    if not scripts:
        print(NO_DIFFERENCE)
        return
    for script in scripts:
        print(f"Wrote {Path(script.path).relative_to(ROOT)}")
    print(REVIEW_ADVICE)
    warnings = "".join(
        lint_revisions(f"{script.down_revision}:{script.revision}") for script in scripts
    )
    if warnings:
        print(f"\n{UNSAFE_REVISION}\n\n{warnings}")


def write_revisions(message: str) -> list[Script]:
    """Write the revisions that the models need, and return them in their order.

    There are none if nothing has changed, and two if an existing table gets an index or a
    constraint (see `migrations/new_revisions.py`).
    """
    with (
        tempfile.TemporaryDirectory(prefix="bookshelf-revision-") as directory,
        embedded.run_postgres(Path(directory), POSTGRES_SETTINGS) as server,
        # Discard the progress messages of Alembic.
        redirect_stdout(io.StringIO()),
    ):
        url = make_url(server.url()).set(drivername="postgresql+asyncpg")
        schema.upgrade(url)
        scripts = command.revision(schema.alembic_config(url), message, autogenerate=True)
    # Alembic returns one script, a list of scripts, or None.
    if not isinstance(scripts, list):
        scripts = [scripts]
    return [script for script in scripts if script is not None]


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
