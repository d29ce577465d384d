"""Request and response models of books."""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from app.authors.schemas import AuthorName
from app.core.paging import AnyOf, ListQuery, SortKeys
from app.core.schemas import (
    Date,
    Id,
    ReadModel,
    RequestModel,
    UpdatedAt,
    UpdateModel,
    Version,
    name_of_length,
)

BookId = Annotated[Id, Field(description="Id of the book")]
Title = Annotated[str, name_of_length(1, 300), Field(examples=["Cien años de soledad"])]
BookSortKey = Literal["title", "-title", "created_at", "-created_at", "updated_at", "-updated_at"]


class BookCreate(RequestModel):
    """A new book."""

    title: Title
    author_id: Id = Field(description="Id of an existing author")


class BookBatch(RequestModel):
    """New books, of which either all or none are added."""

    items: list[BookCreate] = Field(min_length=1, max_length=1000)


class BookLine(RequestModel):
    """A line of an import or export file: a book, with its author's name and date of birth."""

    author: AuthorName
    dob: Date | None = None
    title: Title


class ExportedBookLine(BaseModel):
    """A book as a line of an export file, with the columns of `BookLine`.

    It has none of its rules, because the book was checked when it was stored.
    """

    author: str
    dob: date | None
    title: str


class ImportCounts(BaseModel):
    """The number of authors and the number of books that an import has added."""

    authors: int
    books: int


class BookUpdate(UpdateModel, BookCreate):
    """Changes to a book. An absent field keeps its value."""


class BookAuthor(BaseModel):
    """The author of a book."""

    id: UUID
    name: str = Field(max_length=200, examples=["Gabriel García Márquez"])
    dob: date | None = Field(description="Date of birth; null if unknown", examples=["1927-03-06"])


class BookRead(ReadModel):
    """A book with its author."""

    id: UUID
    title: str = Field(max_length=300, examples=["Cien años de soledad"])
    author_id: UUID
    author: BookAuthor
    created_at: datetime
    updated_at: UpdatedAt
    # Combines the versions of the book (4) and of its author (2), because a change of either one
    # changes the response.
    version: Version = Field(examples=["4.2"])


class Books(BaseModel):
    """The created books of a batch, in the order of the request."""

    items: list[BookRead] = Field(max_length=1000)


class AuthorBookQuery(ListQuery):
    """Query parameters of the list of one author's books."""

    id: AnyOf[Id] = ()
    sort: SortKeys[BookSortKey] = ()


class BookQuery(AuthorBookQuery):
    """Query parameters of the list of books."""

    author_id: Id | None = Field(default=None, description="List only this author's books")
