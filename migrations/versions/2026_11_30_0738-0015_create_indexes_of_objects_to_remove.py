"""Create indexes of the stored objects that have to be removed from the object store.

Without them, each page of these objects is found by reading all of them, also after a document is
changed or deleted. A failed store, or a user who deletes many documents, can leave many of them.

Revision: 0015, after 0014
"""

from collections.abc import Sequence

from alembic import op

from migrations.invalid_indexes import drop_invalid_index

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The columns of each index.
INDEXES = {
    "ix_stored_objects_deleting_id": "id",
    "ix_stored_objects_deleting_document_id_id": "document_id, id",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, columns in INDEXES.items():
            drop_invalid_index(name)
            op.execute(
                f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON stored_objects ({columns})"
                " WHERE state = 'deleting'"
            )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        for name in INDEXES:
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
