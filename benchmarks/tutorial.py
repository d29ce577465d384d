"""The same endpoints as ours, written as in the usual tutorials of FastAPI and async SQLAlchemy.

The session and its `add`, `commit` and `refresh` are those of
https://fastapi.tiangolo.com/tutorial/sql-databases/, made async as in
https://docs.sqlalchemy.org/en/21/orm/extensions/asyncio.html. Passwords are hashed as in
https://fastapi.tiangolo.com/tutorial/security/oauth2-jwt/. The code is a fair comparison: it has an
async engine and driver, eager loading, an indexed order, and the same tables, JSON and pool size as
ours. In the form `production`, every request needs a token, whose user is looked up by a dependency
as in https://fastapi.tiangolo.com/tutorial/security/get-current-user/.
"""

import os
from collections.abc import AsyncIterator
from datetime import date, datetime
from hashlib import sha256
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, HTTPException, Query, status
from fastapi.security import OAuth2PasswordBearer
from pwdlib import PasswordHash
from pydantic import BaseModel, ConfigDict, EmailStr, Field
from sqlalchemy import BigInteger, DateTime, ForeignKey, Identity, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

engine = create_async_engine(
    make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+asyncpg"),
    pool_pre_ping=True,
    # The pool size of this service, which is shared by the processes.
    pool_size=int(os.environ["POOL_SIZE"]),
)
SessionLocal = async_sessionmaker(engine, expire_on_commit=False)
password_hash = PasswordHash.recommended()


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
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())
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


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[str]
    email: Mapped[str]
    password_hash: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Token(Base):
    __tablename__ = "tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    digest: Mapped[bytes]
    expires_at: Mapped[datetime]


class AuthorCreate(BaseModel):
    name: str = Field(min_length=1, max_length=200)
    dob: date | None = None


class AuthorUpdate(BaseModel):
    name: str | None = Field(default=None, min_length=1, max_length=200)
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


class BookPage(BaseModel):
    items: list[BookRead]
    page: int
    size: int


class UserCreate(BaseModel):
    name: str = Field(min_length=1, max_length=100)
    email: EmailStr
    password: str = Field(min_length=8, max_length=128)


class UserRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    email: str
    created_at: datetime
    updated_at: datetime


oauth2_scheme = OAuth2PasswordBearer(tokenUrl="token")


async def get_current_user(
    token: Annotated[str, Depends(oauth2_scheme)], session: SessionDep
) -> User:
    statement = select(User).join(Token, Token.user_id == User.id)
    digest = sha256(token.encode()).digest()
    user = await session.scalar(
        statement.where(Token.digest == digest, Token.expires_at > func.now())
    )
    if user is None:
        raise HTTPException(
            status_code=status.HTTP_401_UNAUTHORIZED,
            detail="Invalid authentication credentials",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return user


app = FastAPI(title="Tutorial")
if os.environ["BENCHMARK_FORM"] == "production":
    app = FastAPI(title="Tutorial", dependencies=[Depends(get_current_user)])


@app.get("/books/{book_id}", response_model=BookRead)
async def read_book(book_id: UUID, session: SessionDep) -> Any:
    statement = select(Book).where(Book.id == book_id).options(selectinload(Book.author))
    book = await session.scalar(statement)
    if book is None:
        raise HTTPException(status_code=404, detail="Book not found")
    return book


@app.get("/books", response_model=BookPage)
async def list_books(
    session: SessionDep,
    page: Annotated[int, Query(ge=1)] = 1,
    size: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Any:
    ordered = select(Book).order_by(Book.created_at, Book.id).options(selectinload(Book.author))
    books = await session.scalars(ordered.offset((page - 1) * size).limit(size))
    return {"items": books.all(), "page": page, "size": size}


@app.get("/authors/{author_id}", response_model=AuthorRead)
async def read_author(author_id: UUID, session: SessionDep) -> Any:
    author = await session.get(Author, author_id)
    if author is None:
        raise HTTPException(status_code=404, detail="Author not found")
    return author


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


@app.patch("/authors/{author_id}", response_model=AuthorRead)
async def update_author(author_id: UUID, data: AuthorUpdate, session: SessionDep) -> Any:
    author = await session.get(Author, author_id)
    if author is None:
        raise HTTPException(status_code=404, detail="Author not found")
    for name, value in data.model_dump(exclude_unset=True).items():
        setattr(author, name, value)
    await session.commit()
    await session.refresh(author)
    return author


@app.delete("/authors/{author_id}", status_code=204)
async def delete_author(author_id: UUID, session: SessionDep) -> None:
    author = await session.get(Author, author_id)
    if author is None:
        raise HTTPException(status_code=404, detail="Author not found")
    await session.delete(author)
    await session.commit()


@app.post("/users", response_model=UserRead, status_code=201)
async def create_user(data: UserCreate, session: SessionDep) -> Any:
    if await session.scalar(select(User).where(func.lower(User.email) == data.email.lower())):
        raise HTTPException(status_code=409, detail="Email already registered")
    hashed = password_hash.hash(data.password)
    user = User(name=data.name, email=data.email, password_hash=hashed)
    session.add(user)
    await session.commit()
    await session.refresh(user)
    return user
