"""Records which code can use the schema, after contract revisions have removed something from it.

Code does not know the revisions of later releases. Without the record, a server would be ready on a
schema that no longer has the columns that it reads. `app/core/db/_schema_version.py` checks it.
"""

from collections.abc import Iterable
from pathlib import Path

from alembic.runtime.migration import MigrationContext, MigrationInfo
from alembic.script import Script, ScriptDirectory

from app.tables import CONTRACT_PREFIX


def record_required_code(
    *, ctx: MigrationContext, step: MigrationInfo, heads: Iterable[str], **_: object
) -> None:
    """Store the revision that code has to know, in a comment on the table `alembic_version`.

    This is Alembic's hook `on_version_apply`. Alembic calls it in the transaction of each revision,
    with the revisions at which the schema then is. Only contract revisions change the comment.
    """
    directory: ScriptDirectory = ctx.opts["script"]
    scripts = [directory.get_revision(revision) for revision in step.up_revision_ids]
    if not any(is_contract(script) for script in scripts):
        return
    revision = find_required_revision(directory, heads)
    comment = "NULL"
    if revision is not None:
        comment = f"'Requires code that knows revision {revision}'"
    ctx.execute(f"COMMENT ON TABLE alembic_version IS {comment}")


def find_required_revision(directory: ScriptDirectory, heads: Iterable[str]) -> str | None:
    """Return the newest revision before the contract revisions that have run, for example "0018".

    Return None if no contract revision has run.
    """
    is_contracted = False
    for head in heads:
        for script in directory.walk_revisions("base", head):
            if is_contract(script):
                is_contracted = True
            elif is_contracted:
                return script.revision
    return None


def is_contract(script: Script) -> bool:
    """Return whether a revision removes what only older code uses, by the name of its file."""
    _, _, description = Path(script.path).name.partition(f"-{script.revision}_")
    return description.startswith(CONTRACT_PREFIX)
