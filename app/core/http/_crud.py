"""The five standard endpoints of an entity that has no rules of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Generic

from fastapi import Depends, Query, Request, Response
from pydantic import Field

from app.core.access import Permission
from app.core.crud import CreateModelT, CrudService, ReadModelT, UpdateModelT
from app.core.errors import ServiceError
from app.core.http._accept import preferred_stream_type
from app.core.http._conditional import IfMatch, set_etag
from app.core.http._crud_declarations import (
    require_columns,
    require_filter_conditions,
    require_sort_columns,
    require_uuid_id,
)
from app.core.http._responses import set_location, set_page_links
from app.core.http._router import Router
from app.core.http._sessions import RequestSession
from app.core.http._streams import openapi_stream_responses, stream_list
from app.core.paging import Page, PageQuery
from app.core.schemas import Id

LIST_DESCRIPTION: Final = (
    "The response is one page. If the `Accept` header asks for CSV or JSON lines, it is a stream "
    "of the whole list."
)
MERGE_PATCH_DESCRIPTION: Final = (
    "The request body is a JSON merge patch (RFC 7396). Fields that it does not contain keep their "
    "values."
)


@dataclass(frozen=True, kw_only=True)
class CrudEndpoints(Generic[ReadModelT, CreateModelT, UpdateModelT]):
    """Declares the endpoints that get, list, create, update and delete the rows of an entity.

        router = Router(prefix="/authors", tags=["authors"])
        CrudEndpoints(
            noun="author",
            plural="authors",
            service=AuthorService,
            create_model=AuthorCreate,
            update_model=AuthorUpdate,
            read_model=AuthorRead,
            query_model=AuthorQuery,
            read_permission="catalogue:read",
            write_permission="catalogue:write",
        ).add_to(router)

    The operations are called `read_author`, `list_authors`, `create_author`, `update_author` and
    `delete_author`. An entity that needs other endpoints declares all of them itself, as
    `app/books/router.py` does.
    """

    # The entity's name in descriptions, for example "order line" and "order lines". In the names
    # of operations, spaces become underscores: `read_order_line`.
    noun: str
    plural: str
    service: type[CrudService[ReadModelT, CreateModelT, UpdateModelT]]
    create_model: type[CreateModelT]
    update_model: type[UpdateModelT]
    read_model: type[ReadModelT]
    query_model: type[PageQuery]
    read_permission: Permission
    write_permission: Permission
    # The errors to document in addition to `Conflict`, which is documented for every write.
    write_errors: Sequence[type[ServiceError]] = ()
    delete_errors: Sequence[type[ServiceError]] = ()

    def add_to(self, router: Router) -> None:
        """Add the endpoints to a router, whose prefix is the path of the collection.

        Raises `TypeError`, with a message that says what to change, if the models do not fit the
        table.
        """
        self._check_models()
        self._add_read(router)
        self._add_list(router)
        self._add_create(router)
        self._add_update(router)
        self._add_delete(router)

    def _check_models(self) -> None:
        """Raise `TypeError` if the models do not fit the table, so that requests would fail."""
        statements = self.service.repository_class.statements
        require_uuid_id(self.read_model)
        require_filter_conditions(self.query_model, statements)
        require_sort_columns(self.query_model, statements)
        # A service that overrides a method may write other columns than the fields of the model.
        if self.service.create is CrudService.create:
            require_columns(self.create_model, statements, "create")
        if self.service.update is CrudService.update:
            require_columns(self.update_model, statements, "update")

    def _add_read(self, router: Router) -> None:
        """Add `GET /{id}`."""

        async def read(
            id: Id, service: CrudService[ReadModelT, CreateModelT, UpdateModelT], response: Response
        ) -> ReadModelT:
            resource = await service.get(id)
            set_etag(response, resource)
            return resource

        types = {"id": self._id_type(), "return": self.read_model}
        self._specialize(read, f"read_{self.noun}", f"Get {self._noun_with_article()}.", **types)
        router.get("/{id}", permission=self.read_permission)(read)

    def _add_list(self, router: Router) -> None:
        """Add `GET` of the collection: a page, or a stream of the whole list."""

        async def list_page(
            query: Any,
            service: CrudService[ReadModelT, CreateModelT, UpdateModelT],
            request: Request,
            response: Response,
        ) -> Page[ReadModelT] | Response:
            stream_type = preferred_stream_type(request)
            if stream_type is not None:
                return await stream_list(request, stream_type, query, self.read_model, self.service)
            page = await service.page(query)
            set_page_links(request, response, page)
            response.headers["Vary"] = "Accept"
            return page

        description = f"List {self.plural}.\n\n{LIST_DESCRIPTION}"
        query_type: Any = Annotated[self.query_model, Query()]
        self._specialize(list_page, f"list_{self.plural}", description, query=query_type)
        router.get(
            "",
            permission=self.read_permission,
            response_model=Page[self.read_model],  # type: ignore[name-defined]
            responses=openapi_stream_responses(self.read_model),
        )(list_page)

    def _add_create(self, router: Router) -> None:
        """Add `POST` to the collection."""

        async def create(
            data: CreateModelT,
            service: CrudService[ReadModelT, CreateModelT, UpdateModelT],
            response: Response,
        ) -> ReadModelT:
            resource = await service.create(data)
            set_etag(response, resource)
            set_location(response, f"{router.prefix}/{resource.id}")
            return resource

        types = {"data": self.create_model, "return": self.read_model}
        self._specialize(
            create, f"create_{self.noun}", f"Create {self._noun_with_article()}.", **types
        )
        router.post(
            "", permission=self.write_permission, status_code=201, errors=self.write_errors
        )(create)

    def _add_update(self, router: Router) -> None:
        """Add `PATCH /{id}`."""

        async def update(
            id: Id,
            data: UpdateModelT,
            service: CrudService[ReadModelT, CreateModelT, UpdateModelT],
            if_match: IfMatch,
            response: Response,
        ) -> ReadModelT:
            resource = await service.update(id, data, if_match)
            set_etag(response, resource)
            return resource

        description = f"Update {self._noun_with_article()}.\n\n{MERGE_PATCH_DESCRIPTION}"
        types = {"id": self._id_type(), "data": self.update_model, "return": self.read_model}
        self._specialize(update, f"update_{self.noun}", description, **types)
        router.patch("/{id}", permission=self.write_permission, errors=self.write_errors)(update)

    def _add_delete(self, router: Router) -> None:
        """Add `DELETE /{id}`."""

        async def delete(
            id: Id, service: CrudService[ReadModelT, CreateModelT, UpdateModelT], if_match: IfMatch
        ) -> None:
            await service.delete(id, if_match)

        name = f"delete_{self.noun}"
        self._specialize(delete, name, f"Delete {self._noun_with_article()}.", id=self._id_type())
        router.delete("/{id}", permission=self.write_permission, errors=self.delete_errors)(delete)

    def _specialize(
        self, endpoint: Callable[..., Any], name: str, description: str, **types: Any
    ) -> None:
        """Make a generic endpoint look to FastAPI as if it was written for this entity.

        FastAPI reads these attributes of the function when its route is declared.

        Args:
            endpoint: The generic function. It is changed in place.
            name: The operation id, possibly with spaces: "read_order line".
            description: The docstring. Its first line becomes the summary of the operation.
            types: The types of parameters and of the result ("return") that depend on the entity.
        """
        endpoint.__name__ = name.replace(" ", "_")
        endpoint.__doc__ = description
        endpoint.__annotations__ |= {"service": self._service_dependency(), **types}

    def _noun_with_article(self) -> str:
        """Return, for example, "an author" or "a book"."""
        # "a" before "u", because nouns such as "user" are more common than those like "umbrella".
        if self.noun[0] in "aeio":
            return f"an {self.noun}"
        return f"a {self.noun}"

    def _service_dependency(self) -> Any:
        """Return the type of a parameter for which FastAPI creates the service of the request."""
        service_class = self.service

        async def create_service(
            session: RequestSession,
        ) -> CrudService[ReadModelT, CreateModelT, UpdateModelT]:
            return service_class(session)

        return Annotated[service_class, Depends(create_service)]

    def _id_type(self) -> Any:
        """Return the type of the path parameter `id`, with its description for OpenAPI."""
        return Annotated[Id, Field(description=f"Id of the {self.noun}")]
