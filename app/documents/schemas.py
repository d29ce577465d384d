"""Request and response models of documents and their files."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field, TypeAdapter

from app.core.paging import ListQuery, SortKeys
from app.core.schemas import (
    MAX_INT64,
    Flag,
    Id,
    ReadModel,
    RequestModel,
    UpdatedAt,
    Version,
    absent_by_default,
    name_of_length,
    string_of_length,
)
from app.documents.file_fields import (
    UNKNOWN_CONTENT_TYPE,
    ContentType,
    Filename,
    FileSize,
    Sha256Digest,
)

# An example of a signed URL for the OpenAPI document.
_EXAMPLE_URL: Final = "https://store.example.com/documents/0199b2f4?X-Amz-Signature=d1f8"

DocumentId = Annotated[Id, Field(description="Id of the document")]
UploadId = Annotated[Id, Field(description="Id of the upload")]
Name = Annotated[str, name_of_length(1, 200), Field(examples=["A novel"])]
Sort = Literal["name", "-name", "size", "-size", "created_at", "-created_at"]


class DocumentForm(RequestModel):
    """The text fields of the form that creates or changes a document.

    `name` is None if the form does not contain it.
    """

    name: Name = absent_by_default()


class FileMetadata(RequestModel):
    """The filename and the media type of a file, as a client has sent them."""

    filename: Filename = Field(
        description=(
            "Name of the file. Folders and control characters are removed from it. At most 255"
            " characters may be left."
        ),
        examples=["Cien años.pdf"],
    )
    content_type: ContentType = Field(
        default=UNKNOWN_CONTENT_TYPE,
        description=(
            "Media type of the file, with which it will be downloaded. A value that is not a media"
            " type, or has more than 255 characters, becomes `application/octet-stream`."
        ),
        examples=["application/pdf"],
    )


@dataclass(frozen=True)
class StoredFile:
    """A file that is completely stored in the object store and can be attached to a document.

    The fields have the names of the columns of documents.
    """

    file_id: UUID
    filename: str
    content_type: str
    size: int  # bytes
    # In hexadecimal. None if the file comes from a direct upload that was created without it.
    sha256: str | None


@dataclass(frozen=True)
class DocumentCreate:
    """A document to create, with or without a file."""

    name: str
    file: StoredFile | None = None


@dataclass(frozen=True)
class DocumentUpdate:
    """Changes to a document. A field that is None keeps its current value."""

    name: str | None = None
    file: StoredFile | None = None


class AnnouncedFile(FileMetadata):
    """The request body that creates a direct upload: it describes the file before it is sent."""

    size: FileSize = Field(description="Size of the file in bytes", examples=[1_048_576])
    sha256: Sha256Digest | None = Field(
        default=None,
        description=(
            "SHA-256 of the file in hexadecimal. If it is present, the uploaded file is compared"
            " with it when the upload is completed."
        ),
    )


class DirectPart(BaseModel):
    """A part of a file: consecutive bytes, which the client sends to the object store with PUT.

    The first part begins at the start of the file. Each of the others begins where the previous
    part ends.
    """

    number: int = Field(
        ge=1, le=10_000, description="Position of the part in the file, from 1", examples=[1]
    )
    size: int = Field(
        ge=0,
        le=MAX_INT64,
        description=(
            "Size of the part in bytes. The object store refuses a request with another"
            " Content-Length."
        ),
        examples=[1_048_576],
    )
    url: str = Field(
        max_length=8192,
        description="Signed URL to which the part is sent with PUT, without further credentials",
        examples=[_EXAMPLE_URL],
    )


class DirectUpload(BaseModel):
    """A direct upload. The client sends all parts, in any order, and then completes the upload."""

    id: UUID
    parts: list[DirectPart] = Field(
        max_length=10_000, description="Parts of the file, in the order of the file"
    )
    expires_at: datetime = Field(description="Time at which the URLs of the parts expire")
    upload_expires_at: datetime = Field(
        description=(
            "Time after which the upload can no longer be completed, and no longer gets new URLs"
        )
    )


class DocumentRead(ReadModel):
    """A document as the API returns it. The fields of its file are null if it has no file."""

    id: UUID
    name: str = Field(max_length=200, examples=["A novel"])
    filename: str | None = Field(
        max_length=255, description="Name of the file", examples=["Cien años.pdf"]
    )
    content_type: str | None = Field(
        max_length=255, description="Media type of the file", examples=["application/pdf"]
    )
    size: int | None = Field(
        ge=0, le=MAX_INT64, description="Size of the file in bytes", examples=[1_048_576]
    )
    sha256: str | None = Field(
        max_length=64,
        description=(
            "SHA-256 of the file in hexadecimal. It is null if the document has no file, or if the"
            " file comes from a direct upload that was created without a SHA-256."
        ),
        examples=["30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58"],
    )
    file_url: str | None = Field(
        max_length=8192,
        description="Signed URL from which the file can be downloaded without further credentials",
        examples=[_EXAMPLE_URL],
    )
    file_url_expires_at: datetime | None = Field(
        description="Time at which `file_url` expires", examples=["2026-11-21T20:02:34Z"]
    )
    created_at: datetime
    updated_at: UpdatedAt
    version: Version
    # The key of the file in the object store, with which the service signs `file_url`. It is not
    # part of responses.
    key: str | None = Field(exclude=True)


class DocumentQuery(ListQuery):
    """The query parameters of a list of documents."""

    sort: SortKeys[Sort] = ()
    content_type: Annotated[str, string_of_length(1, 255)] | None = Field(
        default=None, description="Return only documents whose file has exactly this media type"
    )
    size_is_null: Flag | None = Field(
        None, description="Only documents without (true) or with a file (false)"
    )


def _describe_form(required_fields: list[str]) -> dict[str, Any]:
    """Describe the multipart form of an endpoint for the OpenAPI document.

    FastAPI cannot do this, because the endpoints read the form themselves, as a stream.
    """
    name_schema = TypeAdapter(Name).json_schema()
    file_schema = {
        "type": "string",
        "format": "binary",
        "description": (
            "Content of the file. Its part of the form needs a filename. A media type that is not"
            " valid becomes `application/octet-stream`."
        ),
    }
    form_schema = {
        "type": "object",
        "properties": {"name": name_schema, "file": file_schema},
        "required": required_fields,
        "additionalProperties": False,
    }
    content = {"multipart/form-data": {"schema": form_schema}}
    return {"requestBody": {"required": True, "content": content}}


# A new document needs a name. A change of a document may contain a name, a file, or both.
CREATE_FORM: Final = _describe_form(required_fields=["name"])
UPDATE_FORM: Final = _describe_form(required_fields=[])
