"""A peer: SQLModel with sync endpoints and psycopg, as in the full-stack FastAPI template.

https://github.com/fastapi/full-stack-fastapi-template, backend/app/models.py and
backend/app/api/routes/items.py. The author in a book is read as in
https://sqlmodel.tiangolo.com/tutorial/fastapi/relationships/.

It differs from the template in the tables, the pool size and the order, which are ours. The list of
books has no total, and loads all authors in one query instead of one query per book. In the form
`production`, the user of the token is looked up as in backend/app/api/deps.py of the template, with
the digest of the token in place of a JWT.
"""

import os
import uuid
from collections.abc import Generator
from datetime import UTC, date, datetime
from hashlib import sha256
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, status
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy import DateTime
from sqlalchemy.engine import make_url
from sqlalchemy.orm import selectinload
from sqlmodel import Field, Relationship, Session, SQLModel, col, create_engine, func, select

engine = create_engine(
    make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg"),
    pool_size=int(os.environ["POOL_SIZE"]),
)
reusable_oauth2 = OAuth2PasswordBearer(tokenUrl="login/access-token")


def get_db() -> Generator[Session]:
    with Session(engine) as session:
        yield session


SessionDep = Annotated[Session, Depends(get_db)]
TokenDep = Annotated[str, Depends(reusable_oauth2)]


def get_datetime_utc() -> datetime:
    return datetime.now(UTC)


class AuthorBase(SQLModel):
    name: str = Field(min_length=1, max_length=200)
    dob: date | None = None


class AuthorCreate(AuthorBase):
    pass


class AuthorUpdate(SQLModel):
    name: str | None = Field(default=None, min_length=1, max_length=200)
    dob: date | None = None


class Author(AuthorBase, table=True):  # type: ignore[call-arg]
    __tablename__ = "authors"

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    created_at: datetime = Field(default_factory=get_datetime_utc, sa_type=DateTime(timezone=True))
    updated_at: datetime = Field(
        default_factory=get_datetime_utc,
        sa_type=DateTime(timezone=True),
        sa_column_kwargs={"onupdate": get_datetime_utc},
    )


class AuthorSummary(AuthorBase):
    id: uuid.UUID


class AuthorPublic(AuthorSummary):
    created_at: datetime
    updated_at: datetime


class AuthorsPublic(SQLModel):
    data: list[AuthorPublic]
    count: int


class BookBase(SQLModel):
    title: str = Field(min_length=1, max_length=300)


class Book(BookBase, table=True):  # type: ignore[call-arg]
    __tablename__ = "books"

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    author_id: uuid.UUID = Field(foreign_key="authors.id", nullable=False)
    created_at: datetime = Field(default_factory=get_datetime_utc, sa_type=DateTime(timezone=True))
    updated_at: datetime = Field(default_factory=get_datetime_utc, sa_type=DateTime(timezone=True))
    author: Author = Relationship()


class BookPublic(BookBase):
    id: uuid.UUID
    author_id: uuid.UUID
    author: AuthorSummary
    created_at: datetime
    updated_at: datetime


class BooksPublic(SQLModel):
    data: list[BookPublic]


class User(SQLModel, table=True):  # type: ignore[call-arg]
    __tablename__ = "users"

    id: int = Field(primary_key=True)
    name: str
    role: str


class Token(SQLModel, table=True):  # type: ignore[call-arg]
    __tablename__ = "tokens"

    id: uuid.UUID = Field(primary_key=True)
    user_id: int = Field(foreign_key="users.id")
    digest: bytes
    expires_at: datetime = Field(sa_type=DateTime(timezone=True))


class Message(SQLModel):
    message: str


def get_current_user(session: SessionDep, token: TokenDep) -> User:
    statement = select(User).join(Token, col(Token.user_id) == User.id)
    digest = sha256(token.encode()).digest()
    user = session.exec(
        statement.where(Token.digest == digest, col(Token.expires_at) > func.now())
    ).first()
    if not user:
        raise HTTPException(
            status_code=status.HTTP_403_FORBIDDEN, detail="Could not validate credentials"
        )
    return user


app = FastAPI()
if os.environ["BENCHMARK_FORM"] == "production":
    app = FastAPI(dependencies=[Depends(get_current_user)])


@app.get("/books", response_model=BooksPublic)
def read_books(session: SessionDep, skip: int = 0, limit: int = 100) -> Any:
    statement = (
        select(Book)
        .options(selectinload(Book.author))
        .order_by(col(Book.created_at))
        .offset(skip)
        .limit(limit)
    )
    return {"data": session.exec(statement).all()}


@app.get("/books/{id}", response_model=BookPublic)
def read_book(session: SessionDep, id: uuid.UUID) -> Any:
    book = session.get(Book, id)
    if not book:
        raise HTTPException(status_code=404, detail="Book not found")
    return book


@app.get("/authors", response_model=AuthorsPublic)
def read_authors(session: SessionDep, skip: int = 0, limit: int = 100) -> Any:
    count = session.exec(select(func.count()).select_from(Author)).one()
    statement = select(Author).order_by(col(Author.created_at)).offset(skip).limit(limit)
    authors = session.exec(statement).all()
    return AuthorsPublic(
        data=[AuthorPublic.model_validate(author) for author in authors], count=count
    )


@app.get("/authors/{id}", response_model=AuthorPublic)
def read_author(session: SessionDep, id: uuid.UUID) -> Any:
    author = session.get(Author, id)
    if not author:
        raise HTTPException(status_code=404, detail="Author not found")
    return author


@app.post("/authors", response_model=AuthorPublic)
def create_author(*, session: SessionDep, author_in: AuthorCreate) -> Any:
    author = Author.model_validate(author_in)
    session.add(author)
    session.commit()
    session.refresh(author)
    return author


@app.patch("/authors/{id}", response_model=AuthorPublic)
def update_author(*, session: SessionDep, id: uuid.UUID, author_in: AuthorUpdate) -> Any:
    author = session.get(Author, id)
    if not author:
        raise HTTPException(status_code=404, detail="Author not found")
    update_dict = author_in.model_dump(exclude_unset=True)
    author.sqlmodel_update(update_dict)
    session.add(author)
    session.commit()
    session.refresh(author)
    return author


@app.delete("/authors/{id}")
def delete_author(session: SessionDep, id: uuid.UUID) -> Message:
    author = session.get(Author, id)
    if not author:
        raise HTTPException(status_code=404, detail="Author not found")
    session.delete(author)
    session.commit()
    return Message(message="Author deleted successfully")
