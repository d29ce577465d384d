"""Converts the operations that autogenerate finds, so that they do not lock large tables for long.

| plain operation on an existing table | safe form |
| --- | --- |
| create or drop an index | `CONCURRENTLY`, outside of a transaction |
| foreign key, check constraint | `NOT VALID`, and `VALIDATE CONSTRAINT` in a later transaction |
| unique constraint | a unique index, built `CONCURRENTLY`, which becomes the constraint |

Other operations are not converted. Neither are operations on a table that the same revision creates
or drops, because requests do not use that table.
"""

from collections.abc import Iterator
from typing import Final

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import render_op
from alembic.operations import ops
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import conv

from migrations.recorded_tables import add_recording

# The import that a revision needs if it builds an index.
IMPORT_DROP_INVALID_INDEX: Final = "from migrations.invalid_indexes import drop_invalid_index"


class AutocommitBlockOp(ops.OpContainer):
    """Operations that run outside of a transaction, each committed by itself."""


class DropInvalidIndexOp(ops.MigrateOperation):
    """Drops the invalid index that a failed `CREATE INDEX CONCURRENTLY` leaves behind."""

    def __init__(self, name: str) -> None:
        self.name = name


@renderers.dispatch_for(AutocommitBlockOp)
def render_autocommit_block(context: AutogenContext, block: AutocommitBlockOp) -> list[str]:
    """Return the lines of code of an autocommit block in a revision."""
    lines = ["with op.get_context().autocommit_block():"]
    for operation in block.ops:
        lines += render_op(context, operation)
    # Alembic's printer ends the block at an empty line.
    return [*lines, ""]


@renderers.dispatch_for(DropInvalidIndexOp)
def render_drop_invalid_index(context: AutogenContext, operation: DropInvalidIndexOp) -> list[str]:
    """Return the line of code that drops an invalid index in a revision."""
    context.imports.add(IMPORT_DROP_INVALID_INDEX)
    return [f"drop_invalid_index({operation.name!r})"]


class SafeOperations:
    """The operations of an upgrade in their safe form, divided into a first and a second revision.

    The first revision runs in a transaction. The second one has an autocommit block for indexes,
    and then a transaction for constraints.
    """

    def __init__(self, upgrade: ops.UpgradeOps, dialect: Dialect) -> None:
        """Convert and divide the operations that autogenerate has found."""
        self._preparer = dialect.identifier_preparer
        # The operations of the first revision, in their original order.
        self._first: list[ops.MigrateOperation] = []
        # The operations of the second revision: first its autocommit block, then its transaction.
        self._concurrent: list[ops.MigrateOperation] = []
        self._final: list[ops.MigrateOperation] = []
        # The operations that undo the second revision. A downgrade executes them in reverse order.
        self._concurrent_downgrade: list[ops.MigrateOperation] = []
        self._final_downgrade: list[ops.MigrateOperation] = []
        operations = list(_flatten(upgrade))
        self._empty_tables = {
            operation.table_name
            for operation in operations
            if isinstance(operation, ops.CreateTableOp | ops.DropTableOp)
        }
        self._tables_losing_columns = {
            operation.table_name
            for operation in operations
            if isinstance(operation, ops.DropColumnOp)
        }
        for operation in operations:
            self._add(operation)

    @property
    def has_first_revision(self) -> bool:
        """True if the first revision has any operations."""
        return bool(self._first)

    @property
    def needs_second_revision(self) -> bool:
        """True if the second revision has any operations."""
        return bool(self._concurrent or self._final)

    def write_first_revision(self, script: ops.MigrationScript) -> None:
        """Set the operations of the script to those of the first revision."""
        upgrade = ops.UpgradeOps(self._first)
        script.upgrade_ops = upgrade
        script.downgrade_ops = upgrade.reverse()

    def write_second_revision(self, script: ops.MigrationScript) -> None:
        """Set the operations of the script to those of the second revision.

        Alembic stores the number of the revision in the transaction after the autocommit block. If
        the transaction fails, the revision runs again, so the block has to be repeatable.
        """
        script.upgrade_ops = ops.UpgradeOps([*_autocommit_blocks(self._concurrent), *self._final])
        concurrent_downgrade = list(reversed(self._concurrent_downgrade))
        script.downgrade_ops = ops.DowngradeOps(
            [*_autocommit_blocks(concurrent_downgrade), *reversed(self._final_downgrade)]
        )

    def _add(self, operation: ops.MigrateOperation) -> None:
        """Convert one operation to its safe form, and add it to the first or second revision."""
        match operation:
            case ops.CreateIndexOp(table_name=table) if self._has_rows(table):
                self._concurrent_downgrade.append(_drop_concurrently(operation.reverse()))
                self._build_index(operation)
            case ops.DropIndexOp() if self._can_drop_later(operation):
                # A downgrade executes these in reverse order.
                self._concurrent_downgrade.append(_create_concurrently(operation.reverse()))
                name = self._name_in_database(operation.index_name)
                self._concurrent_downgrade.append(DropInvalidIndexOp(name))
                self._concurrent.append(_drop_concurrently(operation))
            case (
                ops.CreateForeignKeyOp(source_table=table)
                | ops.CreateCheckConstraintOp(table_name=table)
            ) if self._has_rows(table):
                self._add_not_valid(operation, table)
            # A unique constraint with options such as DEFERRABLE is not converted. It is rare.
            case ops.CreateUniqueConstraintOp(table_name=table) if (
                self._has_rows(table) and not operation.kw
            ):
                self._add_unique(operation)
            case ops.CreateTableOp() | ops.DropTableOp():
                self._first += add_recording(operation)
            case _:
                self._first.append(operation)

    def _has_rows(self, table: str) -> bool:
        """Return whether a table may have rows, because this upgrade does not create or drop it."""
        return table not in self._empty_tables

    def _can_drop_later(self, operation: ops.DropIndexOp) -> bool:
        """Return whether an index still exists when the second revision runs.

        Postgres drops the index of a column together with the column, in the first revision.
        """
        tables = self._empty_tables | self._tables_losing_columns
        return operation.table_name not in tables

    def _build_index(self, operation: ops.CreateIndexOp) -> None:
        """Build an index in the second revision, after dropping what a failed build has left."""
        name = self._name_in_database(operation.index_name)
        self._concurrent.append(DropInvalidIndexOp(name))
        self._concurrent.append(_create_concurrently(operation))

    def _add_not_valid(
        self, operation: ops.CreateForeignKeyOp | ops.CreateCheckConstraintOp, table_name: str
    ) -> None:
        """Add a constraint in the first revision, and validate existing rows in the second."""
        operation.kw["postgresql_not_valid"] = True
        self._first.append(operation)
        table = self._preparer.quote(table_name)
        name = self._preparer.quote(self._name_in_database(operation.constraint_name))
        self._final.append(ops.ExecuteSQLOp(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"))

    def _add_unique(self, operation: ops.CreateUniqueConstraintOp) -> None:
        """Build a unique index in the second revision, and make it the constraint."""
        name = self._name_in_database(operation.constraint_name)
        index = ops.CreateIndexOp(name, operation.table_name, operation.columns, unique=True)
        self._build_index(index)
        table = self._preparer.quote(operation.table_name)
        constraint = self._preparer.quote(name)
        sql = f"ALTER TABLE {table} ADD CONSTRAINT {constraint} UNIQUE USING INDEX {constraint}"
        self._final.append(ops.ExecuteSQLOp(sql))
        self._final_downgrade.append(operation.reverse())

    def _name_in_database(self, name: object) -> str:
        """Return a name as it is in Postgres, where SQLAlchemy shortens it to 63 characters."""
        rendered = self._preparer.truncate_and_render_constraint_name(conv(str(name)))
        return str(rendered).strip('"')


def _autocommit_blocks(operations: list[ops.MigrateOperation]) -> list[AutocommitBlockOp]:
    """Return a list of one block with the operations, or an empty list if there are none."""
    if not operations:
        return []
    return [AutocommitBlockOp(operations)]


def _create_concurrently(operation: ops.CreateIndexOp) -> ops.CreateIndexOp:
    """Make an operation `CREATE INDEX CONCURRENTLY IF NOT EXISTS`, and return it."""
    operation.kw["postgresql_concurrently"] = True
    operation.if_not_exists = True
    return operation


def _drop_concurrently(operation: ops.DropIndexOp) -> ops.DropIndexOp:
    """Make an operation `DROP INDEX CONCURRENTLY IF EXISTS`, and return it."""
    operation.kw["postgresql_concurrently"] = True
    operation.if_exists = True
    return operation


def _flatten(container: ops.OpContainer) -> Iterator[ops.MigrateOperation]:
    """Yield the operations of a container, and those of the containers inside it."""
    for operation in container.ops:
        if isinstance(operation, ops.OpContainer):
            yield from _flatten(operation)
        else:
            yield operation
