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
_WORD: Final = r"[A-Za-z0-9!#$&^_.+-]+"
_PARAMETER: Final = rf'[ \t]*;[ \t]*{_WORD}=({_WORD}|"[ !#-\[\]-~]*")'
_CONTENT_TYPE: Final = rf"^{_WORD}/{_WORD}({_PARAMETER})*$"
# Control characters, and the line and paragraph separators.
_UNPRINTABLE_CATEGORIES: Final = {"Cc", "Zl", "Zp"}
# An example for the OpenAPI document.
EXAMPLE_URL: Final = "https://store.example.com/documents/0199b2f4?X-Amz-Signature=d1f8"


def clean_filename(value: str) -> str:
    """Remove the path and control characters: `C:\\files\\a.pdf` becomes `a.pdf`."""
    characters = [c for c in value if unicodedata.category(c) not in _UNPRINTABLE_CATEGORIES]
    path = "".join(characters).replace("\\", "/")
    name = path.rpartition("/")[2]
    return "unnamed" if name in {"", ".", ".."} else name


def _check_media_type(value: str) -> str:
    if not re.fullmatch(_CONTENT_TYPE, value):
        raise PydanticCustomError("content_type", "Must be a media type")
    return value


def _to_integer(value: Any) -> Any:
    """Convert 10.0 to 10, because JSON does not distinguish them."""
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
    WithJsonSchema({"type": "string", "maxLength": 255, "pattern": _CONTENT_TYPE}),
]
Sort = Literal["name", "-name", "size", "-size", "created_at", "-created_at"]


class DocumentForm(RequestModel):
    """The text fields of the form that creates or changes a document."""

    name: Name = absent_by_default()


class FileHead(RequestModel):
    """What a client says of a file beside its bytes."""

    filename: Filename = Field(
        description="Kept less its path and control characters", examples=["Cien años.pdf"]
    )
    content_type: ContentType = Field(description="Media type", examples=["application/pdf"])


@dataclass(frozen=True)
class StoredFile:
    """A file in the store that can become the file of a document.

    The fields are columns of the document, under the same names.
    """

    file_id: UUID
    filename: str
    content_type: str
    size: int  # bytes
    sha256: str | None  # hexadecimal


@dataclass(frozen=True)
class DocumentCreate:
    """A new document."""

    name: str
    file: StoredFile | None = None


@dataclass(frozen=True)
class DocumentUpdate:
    """Changes to a document: `None` keeps what it has."""

    name: str | None = None
    file: StoredFile | None = None


class UploadCreate(FileHead):
    """A file that the client will put into the store itself."""

    size: Annotated[int, Field(strict=True, ge=1, le=MAX_INT64), BeforeValidator(_to_integer)] = (
        Field(description="Bytes", examples=[1_048_576])
    )
    sha256: Annotated[str, string_of_length(64, 64), Field(pattern="^[0-9a-f]{64}$")] | None = (
        Field(default=None, description="Hexadecimal; what arrives is compared with it")
    )


class DirectPart(BaseModel):
    """Bytes of the file, from the end of the part before, to be PUT to the URL."""

    number: int = Field(ge=1, le=10_000, description="Its place in the file", examples=[1])
    size: int = Field(description="Bytes", examples=[1_048_576])
    url: str = Field(
        max_length=8192, description="Signed: needs no credentials", examples=[EXAMPLE_URL]
    )


class DirectUpload(BaseModel):
    """A direct upload: PUT every part, in any order, then complete it."""

    id: UUID
    parts: list[DirectPart] = Field(description="In the order of the file")
    expires_at: datetime = Field(description="Until then the URLs work")


class DocumentRead(ReadModel):
    """A document; the file's fields are null while there is none."""

    id: UUID
    name: str = Field(max_length=200, examples=["A novel"])
    filename: str | None = Field(
        max_length=255, description="As the client gave it", examples=["Cien años.pdf"]
    )
    content_type: str | None = Field(
        max_length=255, description="Media type", examples=["application/pdf"]
    )
    size: int | None = Field(description="Bytes", examples=[1_048_576])
    sha256: str | None = Field(
        max_length=64,
        description="Hexadecimal; null also after a direct upload without one",
        examples=["30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58"],
    )
    file_url: str | None = Field(
        max_length=8192, description="Signed: needs no credentials", examples=[EXAMPLE_URL]
    )
    file_url_expires_at: datetime | None = Field(
        description="Until then the URL works", examples=["2026-11-21T20:02:34Z"]
    )
    created_at: datetime
    updated_at: UpdatedAt
    version: Version
    key: str | None = Field(exclude=True)


class DocumentQuery(ListQuery):
    """A page of documents."""

    sort: SortKeys[Sort] = ()
    content_type: Annotated[str, string_of_length(1, 255)] | None = Field(
        default=None, description="Files of exactly this type"
    )


def _describe_form(required: list[str]) -> dict[str, Any]:
    """Return the OpenAPI description of a form that the endpoint reads as a stream."""
    name = {
        "type": "string",
        "minLength": 1,
        "maxLength": 200,
        "pattern": NO_NUL_PATTERN,
        "examples": ["A novel"],
    }
    file = {"type": "string", "format": "binary", "description": "Streamed to the store"}
    schema = {
        "type": "object",
        "properties": {"name": name, "file": file},
        "required": required,
        "additionalProperties": False,
    }
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


CREATE_FORM: Final = _describe_form(["name"])
UPDATE_FORM: Final = _describe_form([])
