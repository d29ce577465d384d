"""Keep the tables small whose rows are updated or deleted all the time.

- The index of `attempt_counters` on `expires_at` is dropped, because every attempt changes this
  column. If an update changes no indexed column, Postgres writes the new version of the row to the
  same page (heap-only tuple, HOT), adds nothing to the indexes, and reuses the space without a
  VACUUM. The job `sweep-tokens` reads the table by its primary key instead.
- `fillfactor` leaves free space for these updates in each page.
- `autovacuum_vacuum_scale_factor` starts autovacuum when this part of the rows is dead. The default
  of 20 % is 200,000 rows in a table of a million. Until then, scans read them and their entries in
  the indexes.

Setting the parameters blocks no reads or writes, and rewrites nothing. `benchmarks/updates.py`
measures the effect on updates.

Revision: 0017, after 0016
"""

from collections.abc import Sequence

from alembic import op

from migrations.invalid_indexes import drop_invalid_index

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The parameters of each table, by name. The TOAST table of `stored_answers` uses them too.
PARAMETERS = {
    # Each login updates up to three counters twice.
    "attempt_counters": {"fillfactor": 90, "autovacuum_vacuum_scale_factor": 0.05},
    # Each upload and each change of a document updates the row of its owner.
    "document_usage": {"fillfactor": 90, "autovacuum_vacuum_scale_factor": 0.05},
    # Each row is deleted a day after it was inserted. The hourly job deletes 4 % of the table.
    "stored_answers": {"autovacuum_vacuum_scale_factor": 0.02},
    # Each upload updates its row. These updates are not HOT, because they change the indexed state.
    "stored_objects": {"autovacuum_vacuum_scale_factor": 0.05},
    # `last_used_at` of a token in use changes every five minutes.
    "tokens": {"fillfactor": 90, "autovacuum_vacuum_scale_factor": 0.05},
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index(
            op.f("ix_attempt_counters_expires_at"),
            table_name="attempt_counters",
            postgresql_concurrently=True,
            if_exists=True,
        )
    for table, parameters in PARAMETERS.items():
        settings = ", ".join(f"{name} = {value}" for name, value in parameters.items())
        op.execute(f"ALTER TABLE {table} SET ({settings})")


def downgrade() -> None:
    with op.get_context().autocommit_block():
        drop_invalid_index("ix_attempt_counters_expires_at")
        op.create_index(
            op.f("ix_attempt_counters_expires_at"),
            "attempt_counters",
            ["expires_at"],
            postgresql_concurrently=True,
            if_not_exists=True,
        )
    for table, parameters in PARAMETERS.items():
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(parameters)})")
