"""Converts the operations of autogenerate to a form that does not lock large tables for long.

| plain operation on an existing table | safe form |
| --- | --- |
| create or drop an index | `CONCURRENTLY`, outside of a transaction |
| foreign key, check constraint | `NOT VALID`, and `VALIDATE CONSTRAINT` in a later transaction |
| unique constraint | a unique index, built `CONCURRENTLY`, which becomes the constraint |

Other operations stay as they are. So does every operation on a table that the same revision creates
or drops.
"""

from collections.abc import Iterator
from typing import Final

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import render_op
from alembic.operations import ops
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import conv

DROP_INVALID_INDEX: Final = (
    "# A failed build leaves an invalid index, which IF NOT EXISTS would take for the real one."
)


class AutocommitBlockOp(ops.OpContainer):
    """Operations that run outside of a transaction, each committed by itself."""


class DropInvalidIndexOp(ops.DropIndexOp):
    """Drops the invalid index that a failed `CREATE INDEX CONCURRENTLY` leaves behind."""


@renderers.dispatch_for(AutocommitBlockOp)
def render_autocommit_block(context: AutogenContext, block: AutocommitBlockOp) -> list[str]:
    lines = ["with op.get_context().autocommit_block():"]
    for operation in block.ops:
        if isinstance(operation, DropInvalidIndexOp):
            lines.append(DROP_INVALID_INDEX)
        lines += render_op(context, operation)
    # Alembic's printer ends the block at an empty line.
    return [*lines, ""]


class SafeOperations:
    """The operations of an upgrade, distributed over a first and a second revision."""

    def __init__(self, upgrade: ops.UpgradeOps, dialect: Dialect) -> None:
        self._preparer = dialect.identifier_preparer
        # The operations of the first revision, in their original order.
        self._first: list[ops.MigrateOperation] = []
        # The operations of the second revision: those in its autocommit block, and those in the
        # transaction after it.
        self._concurrent: list[ops.MigrateOperation] = []
        self._final: list[ops.MigrateOperation] = []
        # The operations of its downgrade. They are executed in reverse order.
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
        return bool(self._first)

    @property
    def needs_second_revision(self) -> bool:
        return bool(self._concurrent or self._final)

    def write_first_revision(self, script: ops.MigrationScript) -> None:
        upgrade = ops.UpgradeOps(self._first)
        script.upgrade_ops = upgrade
        script.downgrade_ops = upgrade.reverse()

    def write_second_revision(self, script: ops.MigrationScript) -> None:
        """Write the autocommit block, and then the operations that run in a transaction.

        The transaction also stores the number of the revision. If it fails, everything in it is
        rolled back, so only the autocommit block has to be repeatable.
        """
        script.upgrade_ops = ops.UpgradeOps([*_block(self._concurrent), *self._final])
        concurrent_downgrade = list(reversed(self._concurrent_downgrade))
        script.downgrade_ops = ops.DowngradeOps(
            [*_block(concurrent_downgrade), *reversed(self._final_downgrade)]
        )

    def _add(self, operation: ops.MigrateOperation) -> None:
        match operation:
            case ops.CreateIndexOp(table_name=table) if self._has_rows(table):
                self._concurrent_downgrade.append(_dropped_concurrently(operation.reverse()))
                self._build_index(operation)
            case ops.DropIndexOp() if self._can_drop_later(operation):
                self._concurrent_downgrade.append(_created_concurrently(operation.reverse()))
                self._concurrent.append(_dropped_concurrently(operation))
            case (
                ops.CreateForeignKeyOp(source_table=table)
                | ops.CreateCheckConstraintOp(table_name=table)
            ) if self._has_rows(table):
                self._add_not_valid(operation, table)
            # A constraint with options such as DEFERRABLE is rare, so it is not converted.
            case ops.CreateUniqueConstraintOp(table_name=table) if (
                self._has_rows(table) and not operation.kw
            ):
                self._add_unique(operation)
            case _:
                self._first.append(operation)

    def _has_rows(self, table: str) -> bool:
        return table not in self._empty_tables

    def _can_drop_later(self, operation: ops.DropIndexOp) -> bool:
        """Return False if the first revision drops columns, and with them perhaps the index."""
        tables = self._empty_tables | self._tables_losing_columns
        return operation.table_name not in tables

    def _build_index(self, operation: ops.CreateIndexOp) -> None:
        name = self._name_in_database(operation.index_name)
        leftover = DropInvalidIndexOp(name, operation.table_name)
        self._concurrent += [_dropped_concurrently(leftover), _created_concurrently(operation)]

    def _add_not_valid(
        self, operation: ops.CreateForeignKeyOp | ops.CreateCheckConstraintOp, table_name: str
    ) -> None:
        operation.kw["postgresql_not_valid"] = True
        self._first.append(operation)
        table = self._preparer.quote(table_name)
        name = self._preparer.quote(self._name_in_database(operation.constraint_name))
        self._final.append(ops.ExecuteSQLOp(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"))

    def _add_unique(self, operation: ops.CreateUniqueConstraintOp) -> None:
        name = self._name_in_database(operation.constraint_name)
        index = ops.CreateIndexOp(name, operation.table_name, operation.columns, unique=True)
        self._build_index(index)
        table = self._preparer.quote(operation.table_name)
        constraint = self._preparer.quote(name)
        sql = f"ALTER TABLE {table} ADD CONSTRAINT {constraint} UNIQUE USING INDEX {constraint}"
        self._final.append(ops.ExecuteSQLOp(sql))
        self._final_downgrade.append(operation.reverse())

    def _name_in_database(self, name: object) -> str:
        """Return a name as SQLAlchemy cuts it for Postgres, which allows 63 characters."""
        rendered = self._preparer.truncate_and_render_constraint_name(conv(str(name)))
        return str(rendered).strip('"')


def _block(operations: list[ops.MigrateOperation]) -> list[AutocommitBlockOp]:
    return [AutocommitBlockOp(operations)] if operations else []


def _created_concurrently(operation: ops.CreateIndexOp) -> ops.CreateIndexOp:
    operation.kw["postgresql_concurrently"] = True
    operation.if_not_exists = True
    return operation


def _dropped_concurrently(operation: ops.DropIndexOp) -> ops.DropIndexOp:
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
