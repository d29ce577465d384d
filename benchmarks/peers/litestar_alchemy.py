"""A peer: Litestar with Advanced Alchemy, as in the page "Litestar Integration" of the latter.

https://docs.advanced-alchemy.litestar.dev/latest/usage/frameworks/litestar.html and
examples/litestar/litestar_service.py: controllers with `create_service_dependencies`, Pydantic
schemas, and `before_send_handler="autocommit"`.

It differs from the page in the tables and the pool size, which are ours. The list of books has no
total, and reading an author does not load the author's books.

In the form `production`, the user of the token is looked up by a middleware, as in
https://docs.litestar.dev/2/usage/security/abstract-authentication-middleware.html, with the session
of the request. The access log is the logging middleware of
https://docs.litestar.dev/2/usage/logging.html without headers, cookies and bodies.
"""

import os
from typing import Annotated
from uuid import UUID

from advanced_alchemy.extensions.litestar import (
    AsyncSessionConfig,
    EngineConfig,
    SQLAlchemyAsyncConfig,
    SQLAlchemyPlugin,
    filters,
    providers,
    service,
)
from litestar import Controller, Litestar, delete, get, patch, post
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.logging import LoggingConfig
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.middleware.logging import LoggingMiddlewareConfig
from litestar.params import Dependency
from sqlalchemy.engine import make_url

from benchmarks.peers.alchemy import (
    Author,
    AuthorCreate,
    AuthorService,
    AuthorUpdate,
    Book,
    BookService,
    find_user,
)

Filters = Annotated[list[filters.FilterTypes], Dependency(skip_validation=True)]


class BookController(Controller):
    dependencies = providers.create_service_dependencies(
        BookService,
        "books_service",
        filters={
            "pagination_type": "limit_offset",
            "id_filter": UUID,
            "search": "title",
            "search_ignore_case": True,
            "sort_field": "created_at",
            "sort_order": "asc",
        },
    )

    @get(path="/books")
    async def list_books(
        self, books_service: BookService, filters: Filters
    ) -> service.OffsetPagination[Book]:
        results = await books_service.get_many(*filters)
        return books_service.to_schema(results, filters=filters, schema_type=Book)

    @get(path="/books/{book_id:uuid}")
    async def get_book(self, books_service: BookService, book_id: UUID) -> Book:
        obj = await books_service.get(book_id)
        return books_service.to_schema(obj, schema_type=Book)


class AuthorController(Controller):
    dependencies = providers.create_service_dependencies(
        AuthorService,
        "authors_service",
        filters={
            "pagination_type": "limit_offset",
            "id_filter": UUID,
            "search": "name",
            "search_ignore_case": True,
            "sort_field": "created_at",
            "sort_order": "asc",
        },
    )

    @get(path="/authors")
    async def list_authors(
        self, authors_service: AuthorService, filters: Filters
    ) -> service.OffsetPagination[Author]:
        results, total = await authors_service.get_many_and_count(*filters)
        return authors_service.to_schema(results, total, filters=filters, schema_type=Author)

    @post(path="/authors")
    async def create_author(self, authors_service: AuthorService, data: AuthorCreate) -> Author:
        obj = await authors_service.create(data)
        return authors_service.to_schema(obj, schema_type=Author)

    @get(path="/authors/{author_id:uuid}")
    async def get_author(self, authors_service: AuthorService, author_id: UUID) -> Author:
        obj = await authors_service.get(author_id)
        return authors_service.to_schema(obj, schema_type=Author)

    @patch(path="/authors/{author_id:uuid}")
    async def update_author(
        self, authors_service: AuthorService, data: AuthorUpdate, author_id: UUID
    ) -> Author:
        obj = await authors_service.update(data, item_id=author_id, auto_commit=True)
        return authors_service.to_schema(obj, schema_type=Author)

    @delete(path="/authors/{author_id:uuid}")
    async def delete_author(self, authors_service: AuthorService, author_id: UUID) -> None:
        _ = await authors_service.delete(author_id)


url = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+asyncpg")
alchemy_config = SQLAlchemyAsyncConfig(
    connection_string=url.render_as_string(),
    engine_config=EngineConfig(pool_size=int(os.environ["POOL_SIZE"])),
    before_send_handler="autocommit",
    session_config=AsyncSessionConfig(expire_on_commit=False),
)


class TokenAuthenticationMiddleware(AbstractAuthenticationMiddleware):
    async def authenticate_request(self, connection: ASGIConnection) -> AuthenticationResult:
        auth_header = connection.headers.get("Authorization")
        if not auth_header:
            raise NotAuthorizedException
        token = auth_header.removeprefix("Bearer ")
        session = alchemy_config.provide_session(connection.app.state, connection.scope)
        user = await find_user(session, token)
        if not user:
            raise NotAuthorizedException
        return AuthenticationResult(user=user, auth=token)


middleware = []
logging_config = None
if os.environ["BENCHMARK_FORM"] == "production":
    access_log = LoggingMiddlewareConfig(
        request_log_fields=("method", "path"), response_log_fields=("status_code",)
    )
    middleware = [access_log.middleware, TokenAuthenticationMiddleware]
    logging_config = LoggingConfig()

app = Litestar(
    route_handlers=[BookController, AuthorController],
    plugins=[SQLAlchemyPlugin(config=alchemy_config)],
    middleware=middleware,
    logging_config=logging_config,
)
