"""Write a migration from the difference between the models and the existing migrations.

`python -m tools.revision "create publishers"` runs the migrations in a temporary Postgres server.
It neither needs nor changes the database of DATABASE_URL or of `make run`.
"""

import io
import re
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final, NoReturn

from alembic import command
from alembic.script import Script
from alembic.util import CommandError
from sqlalchemy.engine import make_url

from app import embedded, schema
from checks.migrations import lint_revisions

ROOT: Final = Path(__file__).parents[1]
NO_MESSAGE: Final = 'Say what the revision does: make revision MESSAGE="create publishers"'
FORBIDDEN_CHARACTERS: Final = set('"\\')  # they would end the docstring of the revision
NO_DIFFERENCE: Final = (
    "The migrations already create everything that the models (app/tables.py) declare, so no"
    " revision was written."
)
READ_IT: Final = """\
Read it before you commit it. Autogenerate compares tables, columns, indexes, foreign keys, unique
constraints and the names of check constraints. It does not see functions, triggers, a changed
check constraint or generated column, or rows that have to change, and it takes a renamed column
for a new one. `make migrate` applies the revision."""
REFUSED: Final = (
    "`make check` will reject it. Change the revision as squawk advises, or delete it, change the"
    " models and write it again."
)
# Faster, because the data of this server need not survive a crash.
POSTGRES_SETTINGS: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def main(message: str) -> None:
    message = " ".join(message.split())
    # The file is named after the words of the message, so there has to be one.
    if not re.search(r"\w", message):
        fail(NO_MESSAGE)
    if not message.isprintable() or FORBIDDEN_CHARACTERS & set(message):
        fail("The message must not contain quotation marks or backslashes.")
    try:
        scripts = write_revisions(message)
    except (embedded.EmbeddedError, CommandError) as error:
        fail(str(error))
    if not scripts:
        print(NO_DIFFERENCE)
        return
    for script in scripts:
        print(f"Wrote {Path(script.path).relative_to(ROOT)}")
    print(READ_IT)
    faults = "".join(
        lint_revisions(f"{script.down_revision}:{script.revision}") for script in scripts
    )
    if faults:
        print(f"\n{REFUSED}\n\n{faults}")


def write_revisions(message: str) -> list[Script]:
    """Write up to two revisions and return them, the oldest first."""
    with (
        tempfile.TemporaryDirectory(prefix="bookshelf-revision-") as directory,
        embedded.run_postgres(Path(directory), POSTGRES_SETTINGS) as server,
        redirect_stdout(io.StringIO()),  # Alembic's progress
    ):
        url = make_url(server.url()).set(drivername="postgresql+asyncpg")
        schema.upgrade(url)
        scripts = command.revision(schema.alembic_config(url), message, autogenerate=True)
    written = scripts if isinstance(scripts, list) else [scripts]
    return [script for script in written if script is not None]


def fail(sentence: str) -> NoReturn:
    print(sentence, file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
