"""Makes `alembic revision --autogenerate` write numbered revisions with safe DDL.

Upgrades do not use this module. Safe DDL does not lock an existing table while Postgres reads all
of its rows (`safe_ddl.py`). It takes up to two revisions:

1. tables, columns, and constraints that are `NOT VALID`, in one transaction;
2. indexes, built `CONCURRENTLY` outside of a transaction, and then, in a transaction, the
   validation of the constraints.

A failed revision is repeated from its start. The statements of the first revision can only be
repeated if they were rolled back. A concurrent build cannot be rolled back, and commits what ran
before it, so it has to be in another revision.
"""

from typing import Final

from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from migrations.safe_ddl import SafeOperations

SECOND_MESSAGE: Final = "finish {} without blocking writes"


def prepare_revisions(
    context: MigrationContext, _revision: object, scripts: list[ops.MigrationScript]
) -> None:
    """Replace the script in the list by none, one or two scripts.

    Alembic calls this hook (`process_revision_directives`) after it has compared the models with
    the database, and before it writes the files.
    """
    script = scripts[0]
    # `alembic check` compares, too. It has no message because it writes no file.
    if script.message is None or script.upgrade_ops is None:
        return
    if script.upgrade_ops.is_empty():
        scripts.clear()
        return
    operations = SafeOperations(script.upgrade_ops, context.dialect)
    number = next_number(context.opts["script"])
    script.rev_id = revision_id(number)
    if not operations.needs_second_revision:
        return
    if not operations.has_first_revision:
        operations.write_second_revision(script)
        return
    operations.write_first_revision(script)
    second = ops.MigrationScript(
        revision_id(number + 1),
        ops.UpgradeOps(),
        ops.DowngradeOps(),
        message=SECOND_MESSAGE.format(script.rev_id),
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
    return f"{number:04}"
