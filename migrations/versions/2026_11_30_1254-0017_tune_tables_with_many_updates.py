"""Keep the tables small whose rows are updated or deleted all the time.

- `fillfactor` leaves free space in each page. An update that changes no indexed column then writes
  the new version of the row to the same page (heap-only tuple, HOT). It adds no entries to the
  indexes, and the next update in the page reuses the space of the old version without a VACUUM.
- `autovacuum_vacuum_scale_factor` starts autovacuum when a part of the rows is dead, 20 % by
  default. That is 200,000 rows in a table of a million, whose index entries every scan reads.

Setting the parameters does not block reads or writes, and rewrites nothing: pages that are full
stay full until their rows are updated or deleted.

Revision: 0017, after 0016
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The parameters of each table, by name. The TOAST table of `stored_answers` uses them too.
PARAMETERS = {
    # Each login updates up to three counters twice.
    "attempt_counters": {"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.05},
    # Each upload and each change of a document updates the row of its owner.
    "document_usage": {"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.05},
    # Every row is inserted once and deleted a day later, so that an hour is 4 % of the table.
    "stored_answers": {"autovacuum_vacuum_scale_factor": 0.02},
    # Each upload updates its row, whose indexes contain the state.
    "stored_objects": {"autovacuum_vacuum_scale_factor": 0.05},
    # `last_used_at` of a token in use changes every five minutes.
    "tokens": {"fillfactor": 80, "autovacuum_vacuum_scale_factor": 0.05},
}


def upgrade() -> None:
    for table, parameters in PARAMETERS.items():
        settings = ", ".join(f"{name} = {value}" for name, value in parameters.items())
        op.execute(f"ALTER TABLE {table} SET ({settings})")


def downgrade() -> None:
    for table, parameters in PARAMETERS.items():
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(parameters)})")
