"""What a Python program does with the client that openapi-python-client makes of the document.

`python scenario.py ORIGIN EMAIL PASSWORD`, the latter two of an admin. Fails when anything differs.
"""

import sys
from datetime import date
from hashlib import sha256
from io import BytesIO
from typing import Any, TypeVar, cast
from uuid import uuid4

import httpx
from bookshelf_client import AuthenticatedClient, Client
from bookshelf_client.api.authors import create_author, delete_author, read_author, update_author
from bookshelf_client.api.books import create_book, delete_book, list_books
from bookshelf_client.api.documents import create_document, delete_document, read_document
from bookshelf_client.api.tokens import create_token, delete_current_token
from bookshelf_client.api.users import create_user, read_current_user
from bookshelf_client.models import (
    AccessToken,
    AuthorCreate,
    AuthorRead,
    AuthorUpdate,
    BookCreate,
    BookRead,
    CreateDocumentBody,
    DocumentRead,
    ListBooksSortItem,
    LogIn,
    PageBookRead,
    Problem,
    Role,
    UserCreate,
    UserRead,
)
from bookshelf_client.types import File, Response, Unset

Model = TypeVar("Model")
URN = "urn:problem-type:bookshelf:"


def got(answer: Response[Any], status: int, model: type[Model]) -> Model:
    """The parsed answer, which must be this one."""
    assert answer.status_code == status, answer.content
    assert isinstance(answer.parsed, model)
    return answer.parsed


def refused(answer: Response[Any], status: int, kind: str) -> Problem:
    problem = got(answer, status, Problem)
    assert (problem.type_, problem.status) == (URN + kind, status)
    return problem


def logged_in(origin: str, email: str, password: str) -> AuthenticatedClient:
    log_in = LogIn(username=email, password=password)
    with Client(origin) as anybody:
        token = got(create_token.sync_detailed(client=anybody, body=log_in), 201, AccessToken)
    assert token.token_type == "bearer"
    return AuthenticatedClient(origin, token.access_token)


def register_and_be_refused(origin: str) -> None:
    email, password = f"{uuid4()}@example.com", "correct horse"
    registration = UserCreate(name="Ada", email=email, password=password)
    # The generator takes a token that may be left out for one that is needed.
    with cast("AuthenticatedClient", Client(origin)) as anybody:
        user = got(create_user.sync_detailed(client=anybody, body=registration), 201, UserRead)
        again = create_user.sync_detailed(client=anybody, body=registration)
        assert refused(again, 409, "email-taken").detail == "Email already registered"
    assert (user.email, user.role) == (email, Role.MEMBER)
    with logged_in(origin, email, password) as member:
        assert got(read_current_user.sync_detailed(client=member), 200, UserRead) == user
        author = create_author.sync_detailed(client=member, body=AuthorCreate(name="Ursula"))
        refused(author, 403, "forbidden")
        assert delete_current_token.sync_detailed(client=member).status_code == 204
        refused(read_current_user.sync_detailed(client=member), 401, "unauthorized")


def write_an_author_with_retries_and_conditions(client: AuthenticatedClient) -> AuthorRead:
    data, key = AuthorCreate(name="Octavia E. Butler", dob=date(1947, 6, 22)), str(uuid4())
    first, again = (
        create_author.sync_detailed(client=client, body=data, idempotency_key=key) for _ in "12"
    )
    author = got(first, 201, AuthorRead)
    assert (got(again, 201, AuthorRead), again.headers["Idempotency-Replayed"]) == (author, "true")
    other = create_author.sync_detailed(
        client=client, body=AuthorCreate(name="Ursula"), idempotency_key=key
    )
    refused(other, 422, "idempotency-key-reused")

    change = AuthorUpdate(dob=None)
    etag = first.headers["ETag"]
    changed = update_author.sync_detailed(author.id, client=client, body=change, if_match=etag)
    assert got(changed, 200, AuthorRead).dob is None
    stale = update_author.sync_detailed(author.id, client=client, body=change, if_match=etag)
    refused(stale, 412, "precondition-failed")
    known = changed.headers["ETag"]
    held = read_author.sync_detailed(author.id, client=client, if_none_match=known)
    assert held.status_code == 304
    return author


def list_books_by_cursor(client: AuthenticatedClient, author: AuthorRead) -> list[BookRead]:
    titles = [f"Book {number}" for number in range(5)]
    for title in titles:
        data = BookCreate(title=title, author_id=author.id)
        got(create_book.sync_detailed(client=client, body=data), 201, BookRead)
    order = [ListBooksSortItem.VALUE_1]
    assert order == ["-title"]
    query: dict[str, Any] = {"author_id": author.id, "size": 2, "sort": order}
    page = got(list_books.sync_detailed(client=client, **query), 200, PageBookRead)
    assert (page.total, page.pages, page.page) == (5, 3, 1)
    books = page.items
    while page.next_ is not None:
        answer = list_books.sync_detailed(client=client, cursor=page.next_, **query)
        page = got(answer, 200, PageBookRead)
        assert page.total is None
        books += page.items
    assert [book.title for book in books] == titles[::-1]
    assert {book.author.name for book in books} == {author.name}
    return books


def be_told_what_is_wrong(client: AuthenticatedClient) -> None:
    wrong = create_book.sync_detailed(client=client, body=BookCreate(title="", author_id=uuid4()))
    problem = refused(wrong, 422, "invalid-request")
    assert problem.errors
    assert not isinstance(problem.errors, Unset)
    assert [(fault.pointer, fault.code) for fault in problem.errors] == [
        ("/title", "string_too_short")
    ]


def upload_a_file(client: AuthenticatedClient) -> None:
    content = b"Cien a\xc3\xb1os" * 100_000
    file = File(BytesIO(content), "Cien años.txt", "text/plain")
    form = CreateDocumentBody(name="A novel", file=file)
    made = got(create_document.sync_detailed(client=client, body=form), 201, DocumentRead)
    document = got(read_document.sync_detailed(made.id, client=client), 200, DocumentRead)
    assert (document.filename, document.content_type) == ("Cien años.txt", "text/plain")
    assert (document.size, document.sha256) == (len(content), sha256(content).hexdigest())
    assert document.file_url
    assert httpx.get(document.file_url, trust_env=False).content == content
    assert delete_document.sync_detailed(made.id, client=client).status_code == 204
    refused(read_document.sync_detailed(made.id, client=client), 404, "not-found")


def main(origin: str, email: str, password: str) -> None:
    register_and_be_refused(origin)
    with logged_in(origin, email, password) as admin:
        author = write_an_author_with_retries_and_conditions(admin)
        books = list_books_by_cursor(admin, author)
        be_told_what_is_wrong(admin)
        upload_a_file(admin)
        refused(delete_author.sync_detailed(author.id, client=admin), 409, "author-has-books")
        for book in books:
            assert delete_book.sync_detailed(book.id, client=admin).status_code == 204
        assert delete_author.sync_detailed(author.id, client=admin).status_code == 204


if __name__ == "__main__":
    main(*sys.argv[1:])
