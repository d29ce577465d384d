"""Count the documents, pending direct uploads and bytes of each owner, for quotas.

The upgrade blocks writes of documents and users while it counts the existing documents, which takes
about half a second for a million of them. Reads are not blocked.

Revision: 0013, after 0012
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Adds to the counts of an owner, and refuses an increase to a count that exceeds a quota. A decrease
# is never refused. The statement that writes the rows passes the quotas with `set_config`. Without a
# quota, the setting is missing or empty, so the variable is NULL, and no count exceeds it. The
# UPDATE or INSERT locks the owner's row of `document_usage`, so concurrent writes of one owner are
# counted one after the other. A user who is being deleted has no row, and needs none.
ADD_DOCUMENT_USAGE = """
CREATE FUNCTION add_document_usage(
    owner bigint, new_documents bigint, new_uploads bigint, new_bytes bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    usage document_usage;
    max_documents bigint := nullif(current_setting('documents.max_documents', true), '');
    max_uploads bigint := nullif(current_setting('documents.max_pending_uploads', true), '');
    max_bytes bigint := nullif(current_setting('documents.max_bytes', true), '');
BEGIN
    IF owner IS NULL OR (new_documents = 0 AND new_uploads = 0 AND new_bytes = 0) THEN
        RETURN;
    END IF;
    UPDATE document_usage SET documents = documents + new_documents,
        pending_uploads = pending_uploads + new_uploads, bytes = bytes + new_bytes
    WHERE owner_id = owner RETURNING * INTO usage;
    IF NOT FOUND AND new_documents >= 0 AND new_uploads >= 0 AND new_bytes >= 0 THEN
        INSERT INTO document_usage VALUES (owner, new_documents, new_uploads, new_bytes)
        ON CONFLICT (owner_id) DO UPDATE SET
            documents = document_usage.documents + new_documents,
            pending_uploads = document_usage.pending_uploads + new_uploads,
            bytes = document_usage.bytes + new_bytes
        RETURNING * INTO usage;
    END IF;
    IF new_documents > 0 AND usage.documents > max_documents THEN
        RAISE restrict_violation USING
            MESSAGE = 'too many documents', CONSTRAINT = 'document_usage_documents';
    ELSIF new_uploads > 0 AND usage.pending_uploads > max_uploads THEN
        RAISE restrict_violation USING
            MESSAGE = 'too many pending uploads', CONSTRAINT = 'document_usage_pending_uploads';
    ELSIF new_bytes > 0 AND usage.bytes > max_bytes THEN
        RAISE restrict_violation USING
            MESSAGE = 'too many bytes', CONSTRAINT = 'document_usage_bytes';
    END IF;
END
$$
"""
# Counts the documents that a statement has written. It runs once per statement, after the triggers
# that run for each row, so a completed upload is no longer counted as pending.
COUNT_DOCUMENTS = """
CREATE FUNCTION count_documents_of_owners() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM add_document_usage(owner_id, count(*), 0, coalesce(sum(size), 0)::bigint)
        FROM new_rows GROUP BY owner_id;
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM add_document_usage(owner_id, -count(*), 0, -coalesce(sum(size), 0)::bigint)
        FROM old_rows GROUP BY owner_id;
    ELSE
        PERFORM add_document_usage(owner_id, sum(count)::bigint, 0, sum(bytes)::bigint)
        FROM (
            SELECT owner_id, 1 AS count, coalesce(size, 0) AS bytes FROM new_rows
            UNION ALL SELECT owner_id, -1, -coalesce(size, 0) FROM old_rows
        ) AS changes GROUP BY owner_id;
    END IF;
    RETURN NULL;
END
$$
"""
COUNT_DOCUMENTS_TRIGGERS = """
CREATE TRIGGER count_inserted AFTER INSERT ON documents REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION count_documents_of_owners();
CREATE TRIGGER count_updated AFTER UPDATE ON documents
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION count_documents_of_owners();
CREATE TRIGGER count_deleted AFTER DELETE ON documents REFERENCING OLD TABLE AS old_rows
FOR EACH STATEMENT EXECUTE FUNCTION count_documents_of_owners()
"""
# Counts direct uploads while they are pending, with the announced sizes of their files.
COUNT_UPLOAD = """
CREATE FUNCTION count_pending_upload() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM add_document_usage(NEW.owner_id, 0, 1, NEW.size);
    ELSE
        PERFORM add_document_usage(OLD.owner_id, 0, -1, -OLD.size);
    END IF;
    RETURN NULL;
END
$$
"""
COUNT_UPLOAD_TRIGGERS = """
CREATE TRIGGER count_inserted AFTER INSERT ON stored_objects
FOR EACH ROW WHEN (NEW.owner_id IS NOT NULL) EXECUTE FUNCTION count_pending_upload();
CREATE TRIGGER count_updated AFTER UPDATE OF state ON stored_objects
FOR EACH ROW WHEN (OLD.owner_id IS NOT NULL AND OLD.state = 'pending' AND NEW.state <> 'pending')
EXECUTE FUNCTION count_pending_upload();
CREATE TRIGGER count_deleted AFTER DELETE ON stored_objects
FOR EACH ROW WHEN (OLD.owner_id IS NOT NULL AND OLD.state = 'pending')
EXECUTE FUNCTION count_pending_upload()
"""
# The triggers lock the table against writes until the end of the transaction.
COUNT_EXISTING_DOCUMENTS = """
INSERT INTO document_usage (owner_id, documents, bytes)
SELECT owner_id, count(*), coalesce(sum(size), 0) FROM documents
WHERE owner_id IS NOT NULL GROUP BY owner_id
"""


def upgrade() -> None:
    op.create_table(
        "document_usage",
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("documents", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("pending_uploads", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"],
            ["users.id"],
            name=op.f("fk_document_usage_owner_id_users"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("owner_id", name=op.f("pk_document_usage")),
    )
    for function in (ADD_DOCUMENT_USAGE, COUNT_DOCUMENTS, COUNT_UPLOAD):
        op.execute(function)
    for trigger in COUNT_DOCUMENTS_TRIGGERS.split(";"):
        op.execute(trigger)
    op.execute(COUNT_EXISTING_DOCUMENTS)
    # This locks the table even against reads, so it comes last.
    op.add_column("stored_objects", sa.Column("owner_id", sa.BigInteger(), nullable=True))
    for trigger in COUNT_UPLOAD_TRIGGERS.split(";"):
        op.execute(trigger)


def downgrade() -> None:
    for table in ("documents", "stored_objects"):
        for event in ("inserted", "updated", "deleted"):
            op.execute(f"DROP TRIGGER count_{event} ON {table}")
    op.execute("DROP FUNCTION count_documents_of_owners()")
    op.execute("DROP FUNCTION count_pending_upload()")
    op.execute("DROP FUNCTION add_document_usage(bigint, bigint, bigint, bigint)")
    op.drop_table("document_usage")
    op.drop_column("stored_objects", "owner_id")
