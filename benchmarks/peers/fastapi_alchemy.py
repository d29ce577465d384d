"""A peer: FastAPI with Advanced Alchemy, as in its page "FastAPI Integration".

https://docs.advanced-alchemy.litestar.dev/latest/usage/frameworks/fastapi.html: a service around a
repository, the pagination dependency of the page, `get_many_and_count` with `OffsetPagination`, and
`commit_mode="autocommit"`. (`provide_filters` of its example does not start with this version of
FastAPI.)

It differs from the page in the tables, the pool size and the order, which are ours. The list of
books has no total, and reading an author does not load the author's books. In the form
`production`, the user of the token is looked up by a dependency, as in the tutorial of FastAPI.
"""

import os
from typing import Annotated
from uuid import UUID

from advanced_alchemy.extensions.fastapi import (
    AdvancedAlchemy,
    AsyncSessionConfig,
    EngineConfig,
    SQLAlchemyAsyncConfig,
    filters,
    service,
)
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, status
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.peers.alchemy import (
    Author,
    AuthorCreate,
    AuthorService,
    AuthorUpdate,
    Book,
    BookService,
    UserModel,
    find_user,
)

url = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+asyncpg")
alchemy_config = SQLAlchemyAsyncConfig(
    connection_string=url.render_as_string(),
    engine_config=EngineConfig(pool_size=int(os.environ["POOL_SIZE"])),
    session_config=AsyncSessionConfig(expire_on_commit=False),
    commit_mode="autocommit",
)
app = FastAPI()
alchemy = AdvancedAlchemy(config=alchemy_config, app=app)
router = APIRouter()

oauth2_scheme = OAuth2PasswordBearer(tokenUrl="token")
SessionDep = Annotated[AsyncSession, Depends(alchemy.provide_session())]


async def get_current_user(
    token: Annotated[str, Depends(oauth2_scheme)], session: SessionDep
) -> UserModel:
    user = await find_user(session, token)
    if user is None:
        raise HTTPException(
            status_code=status.HTTP_401_UNAUTHORIZED,
            detail="Invalid authentication credentials",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return user


Authors = Annotated[AuthorService, Depends(alchemy.provide_service(AuthorService))]
Books = Annotated[BookService, Depends(alchemy.provide_service(BookService))]
OLDEST_FIRST = filters.OrderBy(field_name="created_at", sort_order="asc")


def provide_limit_offset_pagination(
    current_page: int = Query(default=1, ge=1, alias="currentPage"),
    page_size: int = Query(default=20, ge=1, alias="pageSize"),
) -> filters.LimitOffset:
    return filters.LimitOffset(limit=page_size, offset=page_size * (current_page - 1))


LimitOffset = Annotated[filters.LimitOffset, Depends(provide_limit_offset_pagination)]


@router.get("/books", response_model=service.OffsetPagination[Book])
async def list_books(
    books_service: Books, limit_offset: LimitOffset
) -> service.OffsetPagination[Book]:
    results = await books_service.get_many(limit_offset, OLDEST_FIRST)
    return books_service.to_schema(results, filters=[limit_offset], schema_type=Book)


@router.get("/books/{book_id}", response_model=Book)
async def get_book(books_service: Books, book_id: UUID) -> Book:
    obj = await books_service.get(book_id)
    return books_service.to_schema(obj, schema_type=Book)


@router.get("/authors", response_model=service.OffsetPagination[Author])
async def list_authors(
    authors_service: Authors, limit_offset: LimitOffset
) -> service.OffsetPagination[Author]:
    results, total = await authors_service.get_many_and_count(limit_offset, OLDEST_FIRST)
    return authors_service.to_schema(results, total, filters=[limit_offset], schema_type=Author)


@router.post("/authors", response_model=Author)
async def create_author(authors_service: Authors, data: AuthorCreate) -> Author:
    obj = await authors_service.create(data)
    return authors_service.to_schema(obj, schema_type=Author)


@router.get("/authors/{author_id}", response_model=Author)
async def get_author(authors_service: Authors, author_id: UUID) -> Author:
    obj = await authors_service.get(author_id)
    return authors_service.to_schema(obj, schema_type=Author)


@router.patch("/authors/{author_id}", response_model=Author)
async def update_author(authors_service: Authors, data: AuthorUpdate, author_id: UUID) -> Author:
    obj = await authors_service.update(data, item_id=author_id)
    return authors_service.to_schema(obj, schema_type=Author)


@router.delete("/authors/{author_id}")
async def delete_author(authors_service: Authors, author_id: UUID) -> None:
    _ = await authors_service.delete(author_id)


dependencies = []
if os.environ["BENCHMARK_FORM"] == "production":
    dependencies.append(Depends(get_current_user))
app.include_router(router, dependencies=dependencies)
