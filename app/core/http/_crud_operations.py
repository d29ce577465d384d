"""Texts and types of the endpoints that `CrudEndpoints` declares for an entity."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import Depends
from pydantic import Field

from app.core.crud import CrudService
from app.core.http._sessions import RequestSession
from app.core.schemas import Id

MERGE_PATCH_DESCRIPTION: Final = (
    "The request body is a JSON merge patch (RFC 7396). Fields that it does not contain keep their "
    "values."
)


def build_id_type(noun: str) -> Any:
    """Return the type of the path parameter `id`, with the description "Id of the author".

    `noun` is the name of the entity, for example "author".
    """
    return Annotated[Id, Field(description=f"Id of the {noun}")]


def build_service_dependency(service_class: type[CrudService[Any, Any, Any]]) -> Any:
    """Return the type of an endpoint parameter that receives a service with the request's session.

    For `AuthorService`, this is `Annotated[AuthorService, Depends(create_service)]`. FastAPI calls
    `create_service` for each request and passes its result to the endpoint.
    """

    async def create_service(session: RequestSession) -> CrudService[Any, Any, Any]:
        return service_class(session)

    return Annotated[service_class, Depends(create_service)]


def set_endpoint_metadata(
    endpoint: Callable[..., Any], operation_id: str, docstring: str, types: dict[str, Any]
) -> None:
    """Set the name, docstring and types of an endpoint function, which FastAPI reads from it.

    Args:
        endpoint: The function. It is changed in place.
        operation_id: For example "read_author". Spaces are replaced by underscores.
        docstring: The text that becomes the summary and the description of the operation.
        types: The types of the parameters, and of the result ("return"), for example
            `{"id": UUID, "return": AuthorRead}`.
    """
    endpoint.__name__ = operation_id.replace(" ", "_")
    endpoint.__doc__ = docstring
    endpoint.__annotations__ |= types


def add_article(noun: str) -> str:
    """Return "an author" for "author", and "a book" for "book"."""
    # A noun with "u" gets "a", because names of entities are words such as "user" or "unit".
    if noun[0] in "aeio":
        return f"an {noun}"
    return f"a {noun}"
