"""The SQL of documents."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from app.core.db import (
    Parameters,
    Repository,
    Rows,
    Select,
    Session,
    Statements,
    contains_words,
    equals,
)
from app.core.errors import InvalidToken
from app.documents.errors import UploadExpired
from app.documents.models import NO_SIZE, Document, StoredObject
from app.documents.quotas import DocumentQuotas, quota_settings
from app.documents.schemas import DocumentRead

_object_columns = StoredObject.__table__.c


class DocumentStatements(Statements):
    """Builds the statements that read documents together with the keys of their files.

    SELECT documents.*, stored_objects.key
    FROM documents LEFT JOIN stored_objects ON stored_objects.id = documents.file_id
    """

    # Fields of `DocumentRead` that are not columns of documents. `add_other_fields` selects the
    # key, and `DocumentService` sets the URL and its expiry.
    other_fields = frozenset({"key", "file_url", "file_url_expires_at"})

    def add_other_fields(self, query: Select, source: sa.FromClause) -> Select:
        """Also select the key of each document's file. It is NULL for a document without a file.

        `source` is the table of documents or a subquery of it.
        """
        is_file_of_document = _object_columns.id == source.c.file_id
        return query.add_columns(_object_columns.key).outerjoin(StoredObject, is_file_of_document)

    def extend_write(self, statement: Select) -> Select:
        """Pass the quotas of owners to the triggers that enforce them.

        The triggers run at the end of the statement, and read the settings that it sets:

            SELECT ... FROM written ...
            WHERE set_config('documents.max_documents', :max_documents, true) IS NOT NULL AND ...

        The settings are reset at the end of the transaction.
        """
        return statement.where(*[setting.is_not(None) for setting in quota_settings()])


class DocumentRepository(Repository[DocumentRead]):
    """Reads and writes documents. A write that exceeds a quota raises an error.

    Its documents do not have a `file_url` yet. `DocumentService` signs the URLs.
    """

    model = DocumentRead
    noun = "Document"
    statements = DocumentStatements(
        Document,
        DocumentRead,
        filters={
            "q": contains_words(Document.name),
            "content_type": equals(Document.content_type),
            "owner": equals(Document.owner_id, "owner"),
        },
        sort_nulls_as={"size": NO_SIZE},
        leading_index_columns={"owner": Document.__table__.c.owner_id},
    )
    constraint_errors = {
        "fk_documents_file_id_stored_objects": UploadExpired,
        # The owner was deleted during the request, so the token of the request is invalid too.
        "fk_documents_owner_id_users": InvalidToken,
    }

    def __init__(self, session: Session, scope: Mapping[str, Any], quotas: DocumentQuotas) -> None:
        """Create a repository for the documents of a scope, such as `{"owner": 7}`.

        `quotas` limit what each owner may have.
        """
        super().__init__(session, scope)
        self._quotas = quotas

    async def _execute_write(self, statement: sa.Executable, parameters: Parameters) -> Rows:
        """Execute an INSERT or UPDATE. Raises an error if it exceeds a quota."""
        with self._quotas.explain_violations():
            return await super()._execute_write(
                statement, {**parameters, **self._quotas.to_parameters()}
            )

    def to_model(self, values: dict[str, Any]) -> DocumentRead:
        """Create a document from the values of a row. It does not have a `file_url` yet."""
        fields_without_url = {**values, "file_url": None, "file_url_expires_at": None}
        return self.model.model_validate(fields_without_url)
