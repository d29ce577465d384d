"""The standard endpoints of an entity that has no rules of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic
from uuid import UUID

from fastapi import Query, Request, Response

from app.core.access import Permission
from app.core.crud import CreateModelT, CrudService, ReadModelT, UpdateModelT
from app.core.errors import ServiceError
from app.core.http._conditional import WritePrecondition, set_etag
from app.core.http._crud_declarations import (
    require_columns,
    require_filter_conditions,
    require_sort_columns,
    require_uuid_id,
)
from app.core.http._crud_deletions import add_deletions_endpoint
from app.core.http._crud_operations import (
    MERGE_PATCH_DESCRIPTION,
    add_article,
    build_id_type,
    build_service_dependency,
    set_endpoint_metadata,
)
from app.core.http._responses import set_location, set_page_links
from app.core.http._router import Router
from app.core.http._stream_endpoints import StreamEndpoints
from app.core.paging import Page, PageQuery


@dataclass(frozen=True, kw_only=True)
class CrudEndpoints(Generic[ReadModelT, CreateModelT, UpdateModelT]):
    """Declares the endpoints that get, list, create, update and delete the items of an entity.

    It also declares those that stream the list as a file (see `StreamEndpoints`). Example:

        router = Router(prefix="/authors", tags=["authors"])
        CrudEndpoints(
            noun="author",
            plural="authors",
            service_class=AuthorService,
            create_model=AuthorCreate,
            update_model=AuthorUpdate,
            read_model=AuthorRead,
            query_model=AuthorQuery,
            read_permission="catalog:read",
            write_permission="catalog:write",
        ).add_to(router)

    The operations have the ids `read_author`, `list_authors`, `create_author`, `update_author`,
    `delete_author` and, with `deletes_many`, `delete_authors`. Those of the files have the ids
    `download_authors_csv` and `download_authors_ndjson`. An entity that needs other endpoints
    declares all of them itself, as `app/books/router.py` does.
    """

    # The name of one item in descriptions, for example "author" or "order line".
    noun: str
    # The name of several items, for example "authors" or "order lines".
    plural: str
    service_class: type[CrudService[ReadModelT, CreateModelT, UpdateModelT]]
    create_model: type[CreateModelT]
    update_model: type[UpdateModelT]
    read_model: type[ReadModelT]
    query_model: type[PageQuery]
    read_permission: Permission
    write_permission: Permission
    # The errors to document in addition to `Conflict`, which is documented for every write.
    write_errors: Sequence[type[ServiceError]] = ()
    delete_errors: Sequence[type[ServiceError]] = ()
    # True adds `POST /authors/deletions`, which deletes several items by their ids.
    deletes_many: bool = False

    def add_to(self, router: Router) -> None:
        """Add the endpoints to the router of the entity, for example with the prefix /authors.

        Raises `TypeError`, with a message that says what to change, if the models do not fit the
        database table.
        """
        self._check_models()
        self._add_read_endpoint(router)
        self._add_list_endpoint(router)
        self._add_create_endpoint(router)
        self._add_update_endpoint(router)
        self._add_delete_endpoint(router)
        if self.deletes_many:
            add_deletions_endpoint(
                router, self.plural, self.service_class, self.write_permission, self.delete_errors
            )
        StreamEndpoints(
            plural=self.plural,
            create_service=self.service_class,
            item_model=self.read_model,
            query_model=self.query_model,
            permission=self.read_permission,
        ).add_to(router, "")

    def _check_models(self) -> None:
        """Raise `TypeError` if the Pydantic models do not fit the database table of the entity.

        Without this check at startup, requests would fail.
        """
        statements = self.service_class.repository_class.statements
        require_uuid_id(self.read_model)
        require_filter_conditions(self.query_model, statements)
        require_sort_columns(self.query_model, statements)
        # The inherited methods write each field of a model to the column of the same name. A
        # service that overrides a method may use the fields differently.
        if self.service_class.create is CrudService.create:
            require_columns(self.create_model, statements, "create")
        if self.service_class.update is CrudService.update:
            require_columns(self.update_model, statements, "update")

    def _add_read_endpoint(self, router: Router) -> None:
        """Add the endpoint that gets one item: `GET /authors/{id}` for the noun `author`."""

        async def read_item(
            id: UUID,
            service: CrudService[ReadModelT, CreateModelT, UpdateModelT],
            response: Response,
        ) -> ReadModelT:
            """Respond with one item and its ETag."""
            item = await service.get(id)
            set_etag(response, item)
            return item

        self._set_metadata(
            read_item,
            operation_id=f"read_{self.noun}",
            docstring=f"Get {add_article(self.noun)}.",
            types={"id": build_id_type(self.noun), "return": self.read_model},
        )
        router.get("/{id}", permission=self.read_permission)(read_item)

    def _add_list_endpoint(self, router: Router) -> None:
        """Add the endpoint that lists items: `GET /authors` for the plural `authors`."""

        async def list_items(
            query: PageQuery,
            service: CrudService[ReadModelT, CreateModelT, UpdateModelT],
            request: Request,
            response: Response,
        ) -> Page[ReadModelT]:
            """Respond with one page of the list."""
            page = await service.page(query)
            set_page_links(request, response, page)
            return page

        # The type checker cannot know the types that are computed here.
        query_type: Any = Annotated[self.query_model, Query()]
        page_model = Page[self.read_model]  # type: ignore[name-defined]
        self._set_metadata(
            list_items,
            operation_id=f"list_{self.plural}",
            docstring=f"List {self.plural}, page by page.",
            types={"query": query_type, "return": page_model},
        )
        router.get("", permission=self.read_permission)(list_items)

    def _add_create_endpoint(self, router: Router) -> None:
        """Add the endpoint that creates an item: `POST /authors` for the noun `author`."""

        async def create_item(
            new_item: CreateModelT,
            service: CrudService[ReadModelT, CreateModelT, UpdateModelT],
            request: Request,
            response: Response,
        ) -> ReadModelT:
            """Insert an item, and respond with the item, its ETag and its path."""
            item = await service.create(new_item)
            set_etag(response, item)
            set_location(request, response, f"{router.prefix}/{item.id}")
            return item

        self._set_metadata(
            create_item,
            operation_id=f"create_{self.noun}",
            docstring=f"Create {add_article(self.noun)}.",
            types={"new_item": self.create_model, "return": self.read_model},
        )
        router.post(
            "", permission=self.write_permission, status_code=201, errors=self.write_errors
        )(create_item)

    def _add_update_endpoint(self, router: Router) -> None:
        """Add the endpoint that updates an item: `PATCH /authors/{id}` for the noun `author`."""

        async def update_item(
            id: UUID,
            changes: UpdateModelT,
            service: CrudService[ReadModelT, CreateModelT, UpdateModelT],
            precondition: WritePrecondition,
            response: Response,
        ) -> ReadModelT:
            """Change an item if the precondition allows its version. Return its new state."""
            item = await service.update(id, changes, precondition)
            set_etag(response, item)
            return item

        summary = f"Change some fields of {add_article(self.noun)}."
        self._set_metadata(
            update_item,
            operation_id=f"update_{self.noun}",
            docstring=f"{summary}\n\n{MERGE_PATCH_DESCRIPTION}",
            types={
                "id": build_id_type(self.noun),
                "changes": self.update_model,
                "return": self.read_model,
            },
        )
        router.patch("/{id}", permission=self.write_permission, errors=self.write_errors)(
            update_item
        )

    def _add_delete_endpoint(self, router: Router) -> None:
        """Add the endpoint that deletes an item: `DELETE /authors/{id}` for the noun `author`."""

        async def delete_item(
            id: UUID,
            service: CrudService[ReadModelT, CreateModelT, UpdateModelT],
            precondition: WritePrecondition,
        ) -> None:
            """Delete an item if the precondition allows its version."""
            await service.delete(id, precondition)

        self._set_metadata(
            delete_item,
            operation_id=f"delete_{self.noun}",
            docstring=f"Delete {add_article(self.noun)}.",
            types={"id": build_id_type(self.noun)},
        )
        router.delete("/{id}", permission=self.write_permission, errors=self.delete_errors)(
            delete_item
        )

    def _set_metadata(
        self, endpoint: Callable[..., Any], operation_id: str, docstring: str, types: dict[str, Any]
    ) -> None:
        """Set what FastAPI reads from an endpoint function (see `set_endpoint_metadata`).

        `types` does not contain that of the parameter `service`, which this method adds.
        """
        service_type = build_service_dependency(self.service_class)
        set_endpoint_metadata(endpoint, operation_id, docstring, {**types, "service": service_type})
