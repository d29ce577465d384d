"""Turns the generic endpoint functions of `CrudEndpoints` into operations of one entity."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends
from pydantic import Field

from app.core.crud import CrudService
from app.core.http._sessions import RequestSession
from app.core.schemas import Id


def set_endpoint_metadata(
    endpoint: Callable[..., Any], *, operation_id: str, docstring: str, types: dict[str, Any]
) -> None:
    """Give a generic endpoint function the name, docstring and types of one entity.

    FastAPI reads these attributes of the function when the endpoint is declared.

    Args:
        endpoint: The function. It is changed in place.
        operation_id: The name of the function, for example "read_author".
        docstring: The text that becomes the summary and the description of the operation.
        types: The types that differ between entities, by the name of the parameter. The type of
            the result has the name "return".
    """
    endpoint.__name__ = operation_id
    endpoint.__doc__ = docstring
    endpoint.__annotations__ |= types


def format_operation_id(verb: str, noun: str) -> str:
    """Return the operation id `read_order_line` for the verb "read" and the noun "order line"."""
    return f"{verb}_{noun}".replace(" ", "_")


def build_id_type(noun: str) -> Any:
    """Return the type of the path parameter `id`, with its description for OpenAPI."""
    return Annotated[Id, Field(description=f"Id of the {noun}")]


def build_service_dependency(service_class: type[CrudService[Any, Any, Any]]) -> Any:
    """Return the type of an endpoint's parameter `service`.

    For each request, FastAPI creates an instance of the service class with the request's session.
    """

    async def create_service(session: RequestSession) -> CrudService[Any, Any, Any]:
        return service_class(session)

    return Annotated[service_class, Depends(create_service)]


def add_article(noun: str) -> str:
    """Return "an author" for "author", and "a book" for "book"."""
    # A noun with "u" gets "a", because nouns such as "user" are more common than "umbrella".
    if noun[0] in "aeio":
        return f"an {noun}"
    return f"a {noun}"
