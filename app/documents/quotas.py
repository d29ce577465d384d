"""Quotas: how many documents, bytes and pending direct uploads one owner may have.

`DocumentUsage` in `models.py` describes the rules in the database. A service without quotas does
not need this module, the errors and settings of quotas, `DocumentUsage`, the methods
`extend_write` and `_execute_write` of `repository.py`, and the values of type `FileTarget`. The
downgrade of revision 0013 shows how to drop the triggers.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from uuid import UUID

import sqlalchemy as sa

from app.core.db import Row
from app.core.errors import ConstraintViolated, ServiceError
from app.core.sizes import format_size
from app.documents.errors import StorageQuotaExceeded, TooManyDocuments, TooManyUploads
from app.settings import Settings


@dataclass(frozen=True)
class FileTarget:
    """The document for which a form with a file is received.

    Args:
        owner_id: The owner of a new document, or None if it will not have an owner.
        document_id: The document whose file is replaced, or None for a new document.
        replaced_bytes: The size of the file that is replaced.
    """

    owner_id: int | None = None
    document_id: UUID | None = None
    replaced_bytes: int = 0


@dataclass(frozen=True)
class DocumentQuotas:
    """The quotas of each owner. A quota of 0 means that the number is not limited.

    Triggers enforce them in the statement that writes a document or an upload, so that concurrent
    requests cannot exceed them. The methods `require_*` refuse a file before its bytes are sent.
    """

    max_documents: int
    max_pending_uploads: int
    max_bytes: int

    @classmethod
    def from_settings(cls, settings: Settings) -> "DocumentQuotas":
        """Return the quotas of the settings."""
        return cls(
            settings.max_documents_per_user,
            settings.max_pending_uploads_per_user,
            settings.max_bytes_per_user,
        )

    def to_parameters(self) -> Mapping[str, str]:
        """Return the SQL parameters that pass the quotas to the triggers.

        For example, `{"max_documents": "100", "max_pending_uploads": "", "max_bytes": ""}`. An
        empty text stands for no quota.
        """
        return {name: _to_parameter(quota) for name, quota in asdict(self).items()}

    def require_new_document(self, usage: Row | None) -> None:
        """Raise `TooManyDocuments` if the owner cannot have another document.

        `usage` has the columns of the owner in `document_usage`. It is None without an owner.
        """
        if usage is None or self.max_documents == 0:
            return
        if usage["documents"] >= self.max_documents:
            raise self._too_many_documents()

    def require_bytes(self, usage: Row | None, new_bytes: int) -> None:
        """Raise `StorageQuotaExceeded` if the owner cannot have this many more bytes.

        A number below zero is never refused. An owner with more bytes than a lowered quota can
        replace a file by a smaller one.
        """
        if usage is None or self.max_bytes == 0 or new_bytes <= 0:
            return
        used_bytes = usage["bytes"]
        if used_bytes + new_bytes > self.max_bytes:
            raise StorageQuotaExceeded(
                f"The owner has {format_size(used_bytes)} of at most {format_size(self.max_bytes)},"
                " so the file does not fit"
            )

    @contextmanager
    def explain_violations(self) -> Iterator[None]:
        """Replace the error of a trigger that enforces a quota by one that explains the quota.

        The triggers raise a violated constraint, whose name tells which quota would be exceeded.
        The violation of another constraint is not replaced.
        """
        try:
            yield
        except ConstraintViolated as violation:
            quota_error = self._find_error(violation.constraint_name)
            if quota_error is None:
                raise
            raise quota_error from violation

    def _find_error(self, constraint_name: str) -> ServiceError | None:
        """Return the error for a quota, or None if the name is that of another constraint."""
        if constraint_name == "document_usage_documents":
            return self._too_many_documents()
        if constraint_name == "document_usage_pending_uploads":
            return TooManyUploads(
                f"The owner already has {self.max_pending_uploads} direct uploads that are not"
                " completed, which is the maximum"
            )
        if constraint_name == "document_usage_bytes":
            return StorageQuotaExceeded(
                f"The file does not fit: the owner may have at most {format_size(self.max_bytes)},"
                " including direct uploads that are not completed"
            )
        return None

    def _too_many_documents(self) -> TooManyDocuments:
        return TooManyDocuments(
            f"The owner already has {self.max_documents} documents, which is the maximum"
        )


def _to_parameter(quota: int) -> str:
    """Return a quota as a text, which is empty if the number is not limited."""
    if quota == 0:
        return ""
    return str(quota)


def quota_settings() -> Sequence[sa.ColumnElement[str]]:
    """Return the SQL expressions that pass quotas to the triggers that enforce them.

    The first one is `set_config('documents.max_documents', :max_documents, true)`. The parameters
    are those of `DocumentQuotas.to_parameters`.
    """
    settings = []
    for field in fields(DocumentQuotas):
        quota = sa.bindparam(field.name, type_=sa.Text)
        setting = sa.func.set_config(f"documents.{field.name}", quota, sa.true(), type_=sa.Text)
        settings.append(setting.label(field.name))
    return settings
