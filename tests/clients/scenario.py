"""The scenario that every client in Python runs. `scenario.ts` is the same scenario in TypeScript.

An adapter in `adapters` is a class with the methods of `Service`. Each of them calls the generated
client and returns what it returns, so that mypy compares the generated types with the ones here.
"""

import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from io import StringIO
from typing import Protocol
from uuid import UUID, uuid4

import httpx

URN = "urn:problem-type:bookshelf:"
FILENAME = "Cien años.txt"
CONTENT = b"Cien a\xc3\xb1os" * 100_000


class User(Protocol):
    email: str


class Author(Protocol):
    id: UUID
    name: str
    dob: date | None
    version: str


class Book(Protocol):
    id: UUID
    title: str
    version: str


class Document(Protocol):
    id: UUID
    filename: str | None
    content_type: str | None
    size: int | None
    sha256: str | None
    file_url: str | None


@dataclass
class Page:
    """A page of a list of books. `next` is the cursor of the next page."""

    items: Sequence[Book]
    total: int | None
    next: str | None


@dataclass
class Changes:
    """A page of the change feed. `items` has the id and the kind of each change."""

    items: list[tuple[str, str]]
    next: str


@dataclass
class ProblemError(Exception):
    """An error response. `errors` has the pointer or parameter and the code of each field error."""

    status: int
    type: str
    detail: str
    errors: list[tuple[str | None, str]] = field(default_factory=list)


class Service(Protocol):
    """A client. Without a token, it may read books and authors, register and log in.

    Each method raises `ProblemError` for an error response.
    """

    def __init__(self, origin: str, token: str | None = None) -> None: ...
    def create_token(self, email: str, password: str) -> str: ...
    def create_user(self, name: str, email: str, password: str) -> User: ...
    def read_current_user(self) -> User: ...
    def create_author(self, name: str, dob: date | None, idempotency_key: str) -> Author: ...
    def clear_date_of_birth(self, id: UUID, if_match: str) -> Author: ...
    def delete_author(self, id: UUID) -> None: ...
    def create_book(self, title: str, author_id: UUID) -> Book: ...
    def list_books(self, author_id: UUID, ids: list[UUID], cursor: str | None) -> Page:
        """Return a page of two books with the word "book", sorted by title, descending, and age."""

    def export_books(self, author_id: UUID) -> str: ...
    def delete_book(self, id: UUID) -> None: ...
    def delete_books(self, ids: list[UUID]) -> int:
        """Delete the books with these ids. Return how many were deleted."""

    def list_changes(self, after: str, wait: int) -> Changes: ...
    def create_document(self, name: str, filename: str, content: bytes) -> Document: ...
    def read_document(self, id: UUID) -> Document: ...
    def delete_document(self, id: UUID) -> None: ...


def expect_problem(status: int, problem_type: str, call: Callable[[], object]) -> ProblemError:
    """Check that a call raises a problem of a type, for example "not-found". Return the problem."""
    problem = None
    try:
        call()
    except ProblemError as error:
        problem = error
    assert problem
    assert (problem.status, problem.type) == (status, URN + problem_type), problem
    assert problem.detail
    return problem


def register_member(client: type[Service], origin: str) -> None:
    """Register a user, who may read their own data, but may not create an author."""
    email, password = f"{uuid4()}@example.com", "correct horse"
    anonymous = client(origin)
    assert anonymous.create_user("Ada", email, password).email == email
    expect_problem(409, "email-taken", lambda: anonymous.create_user("Ada", email, password))
    expect_problem(401, "unauthorized", lambda: anonymous.create_token(email, "wrong password"))
    member = client(origin, anonymous.create_token(email, password))
    assert member.read_current_user().email == email
    expect_problem(403, "forbidden", lambda: member.create_author("Ada", None, str(uuid4())))


def create_and_update_author(service: Service) -> Author:
    """Create an author with an idempotency key, and update it with an entity tag."""
    name, dob, key = "Octavia E. Butler", date(1947, 6, 22), str(uuid4())
    author = service.create_author(name, dob, key)
    assert (author.name, author.dob) == (name, dob)
    assert service.create_author(name, dob, key).id == author.id
    expect_problem(422, "idempotency-key-reused", lambda: service.create_author("Ada", dob, key))
    etag = f'"{author.version}"'
    assert service.clear_date_of_birth(author.id, if_match=etag).dob is None
    expect_problem(412, "precondition-failed", lambda: service.clear_date_of_birth(author.id, etag))
    return author


def create_and_list_books(service: Service, author: Author) -> list[Book]:
    """Create five books, and read all of them, and then three of them, in pages of two."""
    titles = [f"Book {number}" for number in range(5)]
    books = [service.create_book(title, author.id) for title in titles]
    ids = [book.id for book in books]
    for selected_ids in (ids, ids[1:4]):
        page = service.list_books(author.id, selected_ids, cursor=None)
        assert page.total == len(selected_ids)
        listed = list(page.items)
        while page.next is not None:
            page = service.list_books(author.id, selected_ids, cursor=page.next)
            listed += page.items
        assert [book.id for book in listed] == selected_ids[::-1]
    rows = csv.DictReader(StringIO(service.export_books(author.id)))
    assert [row["title"] for row in rows] == titles
    return books


def create_invalid_book(service: Service) -> None:
    """Check that the response to a book without a title or author names the fields."""
    invalid = expect_problem(422, "invalid-request", lambda: service.create_book("", uuid4()))
    assert invalid.errors == [("/title", "string_too_short")]
    unknown = expect_problem(422, "invalid-request", lambda: service.create_book("A", uuid4()))
    assert [pointer for pointer, _code in unknown.errors] == ["/author_id"]


def upload_and_download_file(service: Service) -> None:
    """Create a document with a file, download the file, and delete the document."""
    created = service.create_document("A novel", FILENAME, CONTENT)
    document = service.read_document(created.id)
    assert (document.filename, document.content_type) == (FILENAME, "text/plain")
    assert (document.size, document.sha256) == (len(CONTENT), sha256(CONTENT).hexdigest())
    assert document.file_url
    assert httpx.get(document.file_url, trust_env=False).content == CONTENT
    service.delete_document(created.id)
    expect_problem(404, "not-found", lambda: service.read_document(created.id))


def delete_books_and_read_changes(service: Service, books: list[Book]) -> None:
    """Delete one book and then all others, and check that the change feed lists the deletions."""
    end = service.list_changes("now", wait=0).next
    service.delete_book(books[0].id)
    ids = [book.id for book in books]
    unknown = expect_problem(422, "invalid-request", lambda: service.delete_books(ids))
    assert unknown.errors == [("/ids/0", "book_not_found")]
    assert service.delete_books(ids[1:]) == len(ids) - 1
    deletions: list[tuple[str, str]] = []
    while len(deletions) < len(ids):
        changes = service.list_changes(end, wait=10)
        assert changes.items
        deletions += changes.items
        end = changes.next
    assert sorted(deletions) == sorted((str(book_id), "deleted") for book_id in ids)


def run_scenario(client: type[Service]) -> None:
    """Use the service as a new user and as an administrator.

    The arguments of the command line are the service's origin, and the email address and password
    of an administrator.
    """
    origin, email, password = sys.argv[1:]
    register_member(client, origin)
    admin = client(origin, client(origin).create_token(email, password))
    author = create_and_update_author(admin)
    books = create_and_list_books(admin, author)
    create_invalid_book(admin)
    upload_and_download_file(admin)
    expect_problem(409, "author-has-books", lambda: admin.delete_author(author.id))
    delete_books_and_read_changes(admin, books)
    admin.delete_author(author.id)
