"""Operations with which `make revision` records the changes of a new table in the change feed."""

from typing import Final

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Table

IMPORT: Final = "from migrations.change_feed import record_changes_of, stop_recording_changes_of"
# The table of every entity has these columns.
ENTITY_COLUMNS: Final = {"id", "version", "created_at", "updated_at"}


class RecordChangesOp(ops.MigrateOperation):
    """Records the changes of a table. Undoes this if `is_reversed` is true."""

    def __init__(self, table: Table, *, is_reversed: bool = False) -> None:
        self.table = table
        self.is_reversed = is_reversed

    def reverse(self) -> "RecordChangesOp":
        """Return the operation that undoes this one."""
        return RecordChangesOp(self.table, is_reversed=not self.is_reversed)


@renderers.dispatch_for(RecordChangesOp)
def render_record_changes(context: AutogenContext, operation: RecordChangesOp) -> list[str]:
    """Return the line of code of the operation in a revision."""
    context.imports.add(IMPORT)
    name = operation.table.name
    if operation.is_reversed:
        return [f"stop_recording_changes_of({name!r})"]
    if "owner_id" in operation.table.columns:
        return [f"record_changes_of({name!r}, owner='owner_id')"]
    return [f"record_changes_of({name!r})"]


def add_recording(operation: ops.CreateTableOp | ops.DropTableOp) -> list[ops.MigrateOperation]:
    """Return the operation, and for the table of an entity also the one that records its changes.

    Recording begins after the table is created, and ends before it is dropped.
    """
    table = operation.to_table()
    if not ENTITY_COLUMNS.issubset(table.columns.keys()):
        return [operation]
    if isinstance(operation, ops.CreateTableOp):
        return [operation, RecordChangesOp(table)]
    return [RecordChangesOp(table, is_reversed=True), operation]
