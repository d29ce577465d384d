"""The tables of documents and of the objects in the store that are their files."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base, Entity, search_terms, text_sort_key

# Documents without a file are sorted as if they had this size, so that they come last. It is the
# largest bigint.
NO_SIZE = sa.literal_column("9223372036854775807", sa.BigInteger)


class FileColumns:
    """Columns that describe a file: the file of a document, or one that will be uploaded directly.

    `size` is in bytes, `sha256` in hexadecimal.
    """

    filename: Mapped[str | None] = mapped_column(sa.String(255))
    content_type: Mapped[str | None] = mapped_column(sa.String(255))
    size: Mapped[int | None] = mapped_column(sa.BigInteger)
    sha256: Mapped[str | None] = mapped_column(sa.String(64))


class StoredObject(FileColumns, Base):
    """An object in the object store that is, will be, or was the file of a document.

    - `state` is `pending` while the file is uploaded, `ready` while a document refers to the
      object, and `deleting` when the object has to be removed from the store.
    - `touched_at` is the time of the last progress of the upload.
    - `document_id` is the document that refers to the object, or for which a direct upload was
      created.
    - `upload_id` is the id of the multipart upload in the store. The upload is aborted when the
      object is removed. It is null for a file that was stored with a single request.
    - `size` and the other columns of a file are set for direct uploads, to the announced values.
      They are null for files that the service itself stores.
    - `expires_at` is the time after which a direct upload can no longer be read or completed. It is
      null for other objects, and for direct uploads that an older release has created.
    - `completing_until` is set by a request that completes a direct upload. Until then, no other
      request completes it. It is null again if that request fails, and in the past after a crash.
    - `owner_id` is the owner of the document for which a direct upload was created. It is null for
      other objects.

    Rules in the database:

    - `ck_stored_objects_state`: the state is one of these three.
    - `uq_stored_objects_key`: an object has one row.
    - Trigger `keep_files` on documents sets `ready` and `deleting` in the transaction that changes
      the document.
    - Triggers `count_inserted`, `count_updated` and `count_deleted` count pending direct uploads
      in `document_usage`.
    """

    __tablename__ = "stored_objects"
    __table_args__ = (
        sa.CheckConstraint("state IN ('pending', 'ready', 'deleting')", name="state"),
        sa.Index(
            "ix_stored_objects_unsettled",
            "state",
            "touched_at",
            postgresql_where=sa.text("state <> 'ready'"),
        ),
        sa.Index(
            "ix_stored_objects_deleting_id", "id", postgresql_where=sa.text("state = 'deleting'")
        ),
        sa.Index(
            "ix_stored_objects_deleting_document_id_id",
            "document_id",
            "id",
            postgresql_where=sa.text("state = 'deleting'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(sa.String(300), unique=True)
    state: Mapped[str] = mapped_column(sa.String(8), server_default="pending")
    touched_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    document_id: Mapped[UUID | None]
    upload_id: Mapped[str | None] = mapped_column(sa.Text)
    expires_at: Mapped[datetime | None]
    completing_until: Mapped[datetime | None]
    owner_id: Mapped[int | None] = mapped_column(sa.BigInteger)


class UnknownObject(Base):
    """An object in the store that has no row in `stored_objects`, although its key has the prefix.

    The service did not create it, or the row was lost, for example when the database was restored
    from a backup. The job `audit-storage` adds and deletes these rows.

    - `found_at` is the time at which the object was found and logged.
    - `audited_at` is the start of the last run of the job that has seen the object.
    """

    __tablename__ = "unknown_objects"

    key: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    found_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    audited_at: Mapped[datetime]


class Document(FileColumns, Entity):
    """A named document with an optional file. It has no owner if it was created anonymously.

    Rules in the database:

    - `ck_documents_name_not_empty`: the name has at least one character.
    - `uq_documents_file_id`: a stored object is the file of at most one document.
    - `fk_documents_file_id_stored_objects`: the file is a stored object that was `pending`. Trigger
      `keep_files` raises the same constraint name if it was not, for example because the sweeper
      has removed it.
    - Trigger `keep_files`: an object becomes `ready` when a document refers to it, and `deleting`
      when that document is deleted or refers to another object.
    - `fk_documents_owner_id_users`: the owner exists; deleting the owner deletes the document.
    - Triggers `count_inserted`, `count_updated` and `count_deleted` keep `document_usage` correct.
    """

    __tablename__ = "documents"
    __table_args__ = (
        sa.CheckConstraint("char_length(name) >= 1", name="name_not_empty"),
        sa.Index("ix_documents_name_sort_key_id", text_sort_key("name"), "id"),
        sa.Index("ix_documents_size_id", sa.text("coalesce(size, 9223372036854775807)"), "id"),
        sa.Index(None, "created_at", "id"),
        sa.Index(None, "content_type", "created_at", "id"),
        sa.Index("ix_documents_owner_id_name_sort_key_id", "owner_id", text_sort_key("name"), "id"),
        sa.Index(
            "ix_documents_owner_id_size_id",
            "owner_id",
            sa.text("coalesce(size, 9223372036854775807)"),
            "id",
        ),
        sa.Index(None, "owner_id", "created_at", "id"),
        sa.Index("ix_documents_name_terms", search_terms("name"), postgresql_using="gin"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(200))
    owner_id: Mapped[int | None] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    file_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey(StoredObject.id), unique=True)


class DocumentUsage(Base):
    """The numbers of one owner that quotas limit. An owner without a row has nothing.

    - `documents` is the number of documents.
    - `pending_uploads` is the number of direct uploads that are pending, even if their document has
      been deleted.
    - `bytes` is the size of the files of all documents and pending direct uploads.

    Rules in the database:

    - Triggers `count_inserted`, `count_updated` and `count_deleted` on documents and stored objects
      change the numbers in the transaction that changes the rows, so the numbers are always those
      of the rows.
    - These triggers refuse a change that increases a number above its quota. They raise an error
      with the constraint name `document_usage_documents`, `document_usage_pending_uploads` or
      `document_usage_bytes`.
    - The statement that writes the rows passes the quotas to the triggers with `set_config`
      (`quota_settings`). A statement that passes none, for example in psql, is only counted.
    - `fk_document_usage_owner_id_users`: deleting the owner deletes the row.
    """

    __tablename__ = "document_usage"

    owner_id: Mapped[int] = mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    documents: Mapped[int] = mapped_column(sa.BigInteger, server_default=sa.text("0"))
    pending_uploads: Mapped[int] = mapped_column(sa.BigInteger, server_default=sa.text("0"))
    bytes: Mapped[int] = mapped_column(sa.BigInteger, server_default=sa.text("0"))
