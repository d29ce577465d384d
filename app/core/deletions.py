"""Request and response models of operations that delete several items by their ids."""

from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

from app.core.schemas import Id, RequestModel

MAX_DELETED_ITEMS: Final = 1000


def _document_unique_ids(json_schema: dict[str, Any]) -> None:
    """State in the JSON schema that ids must not be repeated. The repository checks this."""
    json_schema["uniqueItems"] = True


class Deletion(RequestModel):
    """The ids of items, of which either all or none are deleted."""

    ids: Annotated[
        list[Id],
        Field(
            min_length=1,
            max_length=MAX_DELETED_ITEMS,
            description="Ids of existing items, each once",
            json_schema_extra=_document_unique_ids,
        ),
    ]


class DeletedCount(BaseModel):
    """The result of a deletion."""

    deleted: int = Field(
        ge=1, le=MAX_DELETED_ITEMS, description="Number of deleted items", examples=[1]
    )
