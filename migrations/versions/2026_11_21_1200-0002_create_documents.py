"""Create documents, and the table of their files in the object store.

Revision: 0002, after 0001
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Keeps the states of stored objects consistent with documents, whatever statement writes a
# document. If the file of a document changes, the state of the former file becomes 'deleting', and
# the state of the new file changes from 'pending' to 'ready'. A file that is not pending is refused.
KEEP_FILES = """
CREATE FUNCTION keep_files_of_documents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.file_id IS NOT DISTINCT FROM NEW.file_id THEN
        RETURN NULL;
    END IF;
    UPDATE stored_objects SET state = 'deleting', touched_at = now() WHERE id = OLD.file_id;
    IF NEW.file_id IS NOT NULL THEN
        UPDATE stored_objects SET state = 'ready', touched_at = now(), document_id = NEW.id
        WHERE id = NEW.file_id AND state = 'pending';
        IF NOT FOUND THEN
            RAISE foreign_key_violation USING
                MESSAGE = 'the file is not pending',
                CONSTRAINT = 'fk_documents_file_id_stored_objects';
        END IF;
    END IF;
    RETURN NULL;
END
$$
"""
KEEP_FILES_TRIGGER = """
CREATE TRIGGER keep_files AFTER INSERT OR DELETE OR UPDATE OF file_id ON documents
FOR EACH ROW EXECUTE FUNCTION keep_files_of_documents()
"""


def upgrade() -> None:
    op.create_table(
        "stored_objects",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=300), nullable=False),
        sa.Column("state", sa.String(length=8), server_default="pending", nullable=False),
        sa.Column(
            "touched_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("document_id", sa.Uuid(), nullable=True),
        sa.Column("upload_id", sa.Text(), nullable=True),
        sa.Column("filename", sa.String(length=255), nullable=True),
        sa.Column("content_type", sa.String(length=255), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'ready', 'deleting')", name=op.f("ck_stored_objects_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stored_objects")),
        sa.UniqueConstraint("key", name=op.f("uq_stored_objects_key")),
    )
    op.create_index(
        "ix_stored_objects_unsettled",
        "stored_objects",
        ["state", "touched_at"],
        unique=False,
        postgresql_where=sa.text("state <> 'ready'"),
    )
    op.create_table(
        "documents",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=True),
        sa.Column("filename", sa.String(length=255), nullable=True),
        sa.Column("content_type", sa.String(length=255), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column(
            "search",
            postgresql.TSVECTOR(),
            sa.Computed("search_vector(name)", persisted=True),
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.CheckConstraint("char_length(name) >= 1", name=op.f("ck_documents_name_not_empty")),
        sa.ForeignKeyConstraint(
            ["file_id"], ["stored_objects.id"], name=op.f("fk_documents_file_id_stored_objects")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_documents")),
        sa.UniqueConstraint("file_id", name=op.f("uq_documents_file_id")),
    )
    op.create_index(
        op.f("ix_documents_content_type_created_at_id"),
        "documents",
        ["content_type", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_documents_created_at_id"), "documents", ["created_at", "id"], unique=False
    )
    op.create_index(op.f("ix_documents_name_id"), "documents", ["name", "id"], unique=False)
    op.create_index(
        op.f("ix_documents_search"), "documents", ["search"], unique=False, postgresql_using="gin"
    )
    op.create_index(
        "ix_documents_size_id",
        "documents",
        [sa.literal_column("coalesce(size, 9223372036854775807)"), "id"],
        unique=False,
    )
    op.execute(KEEP_FILES)
    op.execute(KEEP_FILES_TRIGGER)


def downgrade() -> None:
    op.drop_table("documents")
    op.drop_table("stored_objects")
    op.execute("DROP FUNCTION keep_files_of_documents()")
