"""Request and response models of documents and their files."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.core.paging import ListQuery, SortKeys
from app.core.patterns import SHA256_PATTERN
from app.core.schemas import (
    MAX_INT64,
    NO_NUL_PATTERN,
    Id,
    ReadModel,
    RequestModel,
    UpdatedAt,
    Version,
    absent_by_default,
    string_of_length,
)

# A media type (RFC 6838) with parameters, for example `text/plain; charset="utf-8"`.
_WORD_PATTERN: Final = r"[A-Za-z0-9!#$&^_.+-]+"
_PARAMETER_PATTERN: Final = rf'[ \t]*;[ \t]*{_WORD_PATTERN}=({_WORD_PATTERN}|"[ !#-\[\]-~]*")'
_MEDIA_TYPE_PATTERN: Final = rf"^{_WORD_PATTERN}/{_WORD_PATTERN}({_PARAMETER_PATTERN})*$"
# The Unicode categories of control characters, line separators and paragraph separators.
_UNPRINTABLE_CATEGORIES: Final = {"Cc", "Zl", "Zp"}
# An example of a signed URL for the OpenAPI document.
_EXAMPLE_URL: Final = "https://store.example.com/documents/0199b2f4?X-Amz-Signature=d1f8"


def clean_filename(value: str) -> str:
    """Remove the folders and the control characters from a filename that a client sent.

    For example, `C:\\files\\thesis.pdf` becomes `thesis.pdf`. If nothing is left, the filename is
    `unnamed`.
    """
    printable = [
        character
        for character in value
        if unicodedata.category(character) not in _UNPRINTABLE_CATEGORIES
    ]
    path = "".join(printable).replace("\\", "/")
    name = path.rpartition("/")[2]
    if name in {"", ".", ".."}:
        return "unnamed"
    return name


def _check_media_type(value: str) -> str:
    if not re.fullmatch(_MEDIA_TYPE_PATTERN, value):
        raise PydanticCustomError("content_type", "Must be a media type such as application/pdf")
    return value


def _integral_float_to_int(value: Any) -> Any:
    """Convert a float such as 10.0 to 10, because JSON does not distinguish them.

    Returns every other value unchanged.
    """
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


DocumentId = Annotated[Id, Field(description="Id of the document")]
UploadId = Annotated[Id, Field(description="Id of the upload")]
Name = Annotated[str, string_of_length(1, 200)]
Filename = Annotated[
    str, Field(strict=True, min_length=1, max_length=255), AfterValidator(clean_filename)
]
ContentType = Annotated[
    str,
    string_of_length(1, 255),
    AfterValidator(_check_media_type),
    WithJsonSchema({"type": "string", "maxLength": 255, "pattern": _MEDIA_TYPE_PATTERN}),
]
FileSize = Annotated[
    int, Field(strict=True, ge=1, le=MAX_INT64), BeforeValidator(_integral_float_to_int)
]
# 64 hexadecimal digits.
Sha256Digest = Annotated[str, string_of_length(64, 64), SHA256_PATTERN]
Sort = Literal["name", "-name", "size", "-size", "created_at", "-created_at"]


class DocumentForm(RequestModel):
    """The text fields of the form that creates or changes a document.

    `name` is None if the form does not contain it.
    """

    name: Name = absent_by_default()


class FileMetadata(RequestModel):
    """The filename and the media type that a client declares for a file."""

    filename: Filename = Field(
        description="Name of the file; folders and control characters are removed from it",
        examples=["Cien años.pdf"],
    )
    content_type: ContentType = Field(
        description="Media type of the file, with which it will be downloaded",
        examples=["application/pdf"],
    )


@dataclass(frozen=True)
class StoredFile:
    """A complete file in the object store that can become the file of a document.

    The fields have the names of the document's columns.
    """

    file_id: UUID
    filename: str
    content_type: str
    size: int  # bytes
    # Hexadecimal, or None for a direct upload whose client has not announced it.
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


class UploadCreate(FileMetadata):
    """A file that the client is going to send to the object store itself."""

    size: FileSize = Field(description="Size of the file in bytes", examples=[1_048_576])
    sha256: Sha256Digest | None = Field(
        default=None,
        description=(
            "SHA-256 of the file in hexadecimal. If it is present, the uploaded file is compared"
            " with it when the upload is completed."
        ),
    )


class DirectPart(BaseModel):
    """A part of a direct upload: consecutive bytes of the file, which the client sends with PUT.

    The first part begins at the start of the file. Each other part begins where the previous part
    ends.
    """

    number: int = Field(
        ge=1, le=10_000, description="Position of the part in the file, from 1", examples=[1]
    )
    size: int = Field(description="Size of the part in bytes", examples=[1_048_576])
    url: str = Field(
        max_length=8192,
        description="Signed URL to which the part is sent with PUT, without further credentials",
        examples=[_EXAMPLE_URL],
    )


class DirectUpload(BaseModel):
    """A direct upload. Send all parts, in any order, then complete the upload."""

    id: UUID
    parts: list[DirectPart] = Field(description="Parts of the file, in the order of the file")
    expires_at: datetime = Field(description="Time at which the URLs of the parts expire")


class DocumentRead(ReadModel):
    """A document. The fields that describe its file are null if it has no file."""

    id: UUID
    name: str = Field(max_length=200, examples=["A novel"])
    filename: str | None = Field(
        max_length=255, description="Name of the file", examples=["Cien años.pdf"]
    )
    content_type: str | None = Field(
        max_length=255, description="Media type of the file", examples=["application/pdf"]
    )
    size: int | None = Field(description="Size of the file in bytes", examples=[1_048_576])
    sha256: str | None = Field(
        max_length=64,
        description=(
            "SHA-256 of the file in hexadecimal. It is null if there is no file, or if the"
            " file comes from a direct upload that was created without it."
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
    # The key of the file in the object store, which the service needs to sign `file_url`.
    key: str | None = Field(exclude=True)


class DocumentQuery(ListQuery):
    """The query parameters of a list of documents."""

    sort: SortKeys[Sort] = ()
    content_type: Annotated[str, string_of_length(1, 255)] | None = Field(
        default=None, description="Return only documents whose file has exactly this media type"
    )


def _describe_form(required_fields: list[str]) -> dict[str, Any]:
    """Return the OpenAPI description of a form, which FastAPI cannot derive from a stream."""
    name_schema = {
        "type": "string",
        "minLength": 1,
        "maxLength": 200,
        "pattern": NO_NUL_PATTERN,
        "examples": ["A novel"],
    }
    file_schema = {"type": "string", "format": "binary", "description": "Content of the file"}
    form_schema = {
        "type": "object",
        "properties": {"name": name_schema, "file": file_schema},
        "required": required_fields,
        "additionalProperties": False,
    }
    content = {"multipart/form-data": {"schema": form_schema}}
    return {"requestBody": {"required": True, "content": content}}


# A new document needs a name. A change may contain either field or both.
CREATE_FORM: Final = _describe_form(["name"])
UPDATE_FORM: Final = _describe_form([])
