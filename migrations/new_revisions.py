"""Makes `alembic revision --autogenerate` write numbered revisions with safe DDL.

Safe DDL does not lock an existing table while Postgres reads all of its rows (see `safe_ddl.py`).
It needs up to two revisions:

1. New tables, columns and constraints. Constraints of existing tables are `NOT VALID`. All of this
   runs in one transaction.
2. Indexes, built `CONCURRENTLY` outside of a transaction. Then, in a transaction, the constraints
   are validated.

A failed revision is repeated from its start. The statements of the first revision can only be
repeated if they were rolled back. A concurrent build cannot be rolled back, and commits the
statements before it, so it has to be in another revision.

The changes of the table of a new entity are recorded in the change feed (`recorded_tables.py`).

Upgrades do not use this module.
"""

from typing import Final

from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from migrations.safe_ddl import SafeOperations

SECOND_REVISION_MESSAGE: Final = "finish {} without blocking writes"


def prepare_revisions(
    context: MigrationContext, _revision: object, scripts: list[ops.MigrationScript]
) -> None:
    """Replace the script in the list with no script, one script or two scripts.

    This is Alembic's hook `process_revision_directives`. Alembic calls it with the differences
    between the models and the database, before it writes a file for each script.
    """
    script = scripts[0]
    # `alembic check` also calls the hook. It has no message, because it does not write a file.
    if script.message is None or script.upgrade_ops is None:
        return
    if script.upgrade_ops.is_empty():
        scripts.clear()
        return
    operations = SafeOperations(script.upgrade_ops, context.dialect)
    number = next_number(context.opts["script"])
    script.rev_id = revision_id(number)
    if not operations.has_first_revision:
        operations.write_second_revision(script)
        return
    operations.write_first_revision(script)
    if not operations.needs_second_revision:
        return
    second = ops.MigrationScript(
        revision_id(number + 1),
        ops.UpgradeOps(),
        ops.DowngradeOps(),
        message=SECOND_REVISION_MESSAGE.format(script.rev_id),
        head=script.rev_id,
    )
    operations.write_second_revision(second)
    scripts.append(second)


def next_number(directory: ScriptDirectory) -> int:
    """Return the number of the next revision, for example 6 if the newest one is `0005`."""
    revisions = [script.revision for script in directory.walk_revisions()]
    numbers = [int(revision) for revision in revisions if revision.isdecimal()]
    return max(numbers, default=0) + 1


def revision_id(number: int) -> str:
    """Return a revision such as "0006"."""
    return f"{number:04}"
