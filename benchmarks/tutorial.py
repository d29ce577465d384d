"""Three of our endpoints, as the usual async FastAPI and SQLAlchemy tutorial writes them.

Honestly and competently: async engine and driver, eager loading, one indexed order, the same
tables, the same JSON, the same pool as ours. Nothing is slowed down on purpose.
"""

import os
from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import DateTime, ForeignKey, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

engine = create_async_engine(
    make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+asyncpg"),
    pool_pre_ping=True,
    pool_size=20,  # as ours
)
SessionLocal = async_sessionmaker(engine, expire_on_commit=False)


async def get_session() -> AsyncIterator[AsyncSession]:
    async with SessionLocal() as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]


class Base(DeclarativeBase):
    type_annotation_map = {datetime: DateTime(timezone=True)}


class Author(Base):
    __tablename__ = "authors"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str]
    dob: Mapped[date | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    version: Mapped[int] = mapped_column(server_default=text("1"))
    books: Mapped[list["Book"]] = relationship(back_populates="author")


class Book(Base):
    __tablename__ = "books"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    title: Mapped[str]
    author_id: Mapped[UUID] = mapped_column(ForeignKey("authors.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    version: Mapped[int] = mapped_column(server_default=text("1"))
    author: Mapped[Author] = relationship(back_populates="books")


class AuthorCreate(BaseModel):
    name: str = Field(min_length=1, max_length=200)
    dob: date | None = None


class AuthorSummary(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    dob: date | None


class AuthorRead(AuthorSummary):
    created_at: datetime
    updated_at: datetime


class BookRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    title: str
    author_id: UUID
    author: AuthorSummary
    created_at: datetime
    updated_at: datetime


class AuthorPage(BaseModel):
    items: list[AuthorRead]
    total: int
    page: int
    size: int


app = FastAPI(title="Tutorial")


@app.get("/books/{book_id}", response_model=BookRead)
async def read_book(book_id: UUID, session: SessionDep) -> Any:
    statement = select(Book).where(Book.id == book_id).options(selectinload(Book.author))
    book = await session.scalar(statement)
    if book is None:
        raise HTTPException(status_code=404, detail="Book not found")
    return book


@app.get("/authors", response_model=AuthorPage)
async def list_authors(
    session: SessionDep,
    page: Annotated[int, Query(ge=1)] = 1,
    size: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Any:
    total = await session.scalar(select(func.count()).select_from(Author))
    ordered = select(Author).order_by(Author.created_at, Author.id)
    authors = await session.scalars(ordered.offset((page - 1) * size).limit(size))
    return {"items": authors.all(), "total": total, "page": page, "size": size}


@app.post("/authors", response_model=AuthorRead, status_code=201)
async def create_author(data: AuthorCreate, session: SessionDep) -> Any:
    author = Author(**data.model_dump())
    session.add(author)
    await session.commit()
    await session.refresh(author)
    return author
