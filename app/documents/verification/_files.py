"""The files of documents as the database describes them, and what can be wrong with them."""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from pydantic import BaseModel

# The problems of a file:
#
#     missing           The store has no object with its key.
#     size              The object has another size.
#     sha256            The object has another SHA-256.
#     no-version        The object was deleted, and the store has not kept a version of it.
#     deleted-earlier   The object was already deleted before the time since which deletions are
#                       undone.
Reason = Literal["missing", "size", "sha256", "no-version", "deleted-earlier"]


@dataclass(frozen=True)
class DocumentFile:
    """The file of a document, as the database describes it."""

    document_id: UUID
    document_name: str
    file_id: UUID
    key: str
    size: int | None  # bytes
    sha256: str | None

    def has_size(self, stored_size: int | None) -> bool:
        """Return whether an object exists and has the size of the file.

        `stored_size` is the size of the object, or None if it does not exist. If the database does
        not have the size of the file, every size matches.
        """
        if stored_size is None:
            return False
        return self.size is None or self.size == stored_size


class FileProblem(BaseModel):
    """A document whose file is missing, or is not the file that was uploaded.

    `id` and `name` are those of the document.
    """

    id: UUID
    name: str
    key: str
    reason: Reason

    @classmethod
    def of_file(cls, file: DocumentFile, reason: Reason) -> "FileProblem":
        """Create the problem of a file."""
        return cls(id=file.document_id, name=file.document_name, key=file.key, reason=reason)
