"""Use the service with the client that openapi-python-client generates.

Run it as `python scenario.py ORIGIN EMAIL PASSWORD`, with the email address and password of an
administrator. It fails if a response is not the expected one.
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
    LoginForm,
    PageBookRead,
    Problem,
    Role,
    UserCreate,
    UserRead,
)
from bookshelf_client.types import File, Response, Unset

Model = TypeVar("Model")
URN = "urn:problem-type:bookshelf:"


def check_response(response: Response[Any], status: int, model: type[Model]) -> Model:
    """Check the status of a response and the type of its parsed content. Return the content."""
    assert response.status_code == status, response.content
    assert isinstance(response.parsed, model)
    return response.parsed


def check_problem(response: Response[Any], status: int, problem_type: str) -> Problem:
    """Check that a response is a problem document of a type, for example "not-found"."""
    problem = check_response(response, status, Problem)
    assert (problem.type_, problem.status) == (URN + problem_type, status)
    return problem


def log_in(origin: str, email: str, password: str) -> AuthenticatedClient:
    """Request a token, and return a client that sends it."""
    credentials = LoginForm(username=email, password=password)
    with Client(origin) as client:
        response = create_token.sync_detailed(client=client, body=credentials)
    token = check_response(response, 201, AccessToken)
    assert (token.token_type, token.scope) == ("bearer", "read write")
    return AuthenticatedClient(origin, token.access_token)


def register_member(origin: str) -> None:
    """Register a user, who may read their own data but not create an author."""
    email, password = f"{uuid4()}@example.com", "correct horse"
    registration = UserCreate(name="Ada", email=email, password=password)
    # The generated type requires a token, although the operation can be used without one.
    with cast("AuthenticatedClient", Client(origin)) as anonymous:
        first_response = create_user.sync_detailed(client=anonymous, body=registration)
        second_response = create_user.sync_detailed(client=anonymous, body=registration)
    user = check_response(first_response, 201, UserRead)
    problem = check_problem(second_response, 409, "email-taken")
    assert problem.detail == "Email already registered"
    assert (user.email, user.role) == (email, Role.MEMBER)
    with log_in(origin, email, password) as member:
        assert check_response(read_current_user.sync_detailed(client=member), 200, UserRead) == user
        author = create_author.sync_detailed(client=member, body=AuthorCreate(name="Ursula"))
        check_problem(author, 403, "forbidden")
        assert delete_current_token.sync_detailed(client=member).status_code == 204
        check_problem(read_current_user.sync_detailed(client=member), 401, "unauthorized")


def create_and_update_author(client: AuthenticatedClient) -> AuthorRead:
    """Create an author with an idempotency key, and update it with an entity tag."""
    data = AuthorCreate(name="Octavia E. Butler", dob=date(1947, 6, 22))
    key = str(uuid4())
    first = create_author.sync_detailed(client=client, body=data, idempotency_key=key)
    replayed = create_author.sync_detailed(client=client, body=data, idempotency_key=key)
    author = check_response(first, 201, AuthorRead)
    assert check_response(replayed, 201, AuthorRead) == author
    assert replayed.headers["Idempotency-Replayed"] == "true"
    other_body = create_author.sync_detailed(
        client=client, body=AuthorCreate(name="Ursula"), idempotency_key=key
    )
    check_problem(other_body, 422, "idempotency-key-reused")

    change = AuthorUpdate(dob=None)
    etag = first.headers["ETag"]
    updated = update_author.sync_detailed(author.id, client=client, body=change, if_match=etag)
    assert check_response(updated, 200, AuthorRead).dob is None
    stale = update_author.sync_detailed(author.id, client=client, body=change, if_match=etag)
    check_problem(stale, 412, "precondition-failed")
    new_etag = updated.headers["ETag"]
    unchanged = read_author.sync_detailed(author.id, client=client, if_none_match=new_etag)
    assert unchanged.status_code == 304
    return author


def create_and_list_books(client: AuthenticatedClient, author: AuthorRead) -> list[BookRead]:
    """Create five books, and read them in pages of two, sorted by title in descending order."""
    titles = [f"Book {number}" for number in range(5)]
    for title in titles:
        data = BookCreate(title=title, author_id=author.id)
        check_response(create_book.sync_detailed(client=client, body=data), 201, BookRead)
    sort = [ListBooksSortItem.VALUE_1]
    assert sort == ["-title"]
    query: dict[str, Any] = {"author_id": author.id, "size": 2, "sort": sort}
    page = check_response(list_books.sync_detailed(client=client, **query), 200, PageBookRead)
    assert (page.total, page.pages, page.page) == (5, 3, 1)
    books = page.items
    while page.next_ is not None:
        response = list_books.sync_detailed(client=client, cursor=page.next_, **query)
        page = check_response(response, 200, PageBookRead)
        assert page.total is None
        books += page.items
    assert [book.title for book in books] == titles[::-1]
    assert {book.author.name for book in books} == {author.name}
    return books


def create_invalid_book(client: AuthenticatedClient) -> None:
    """Check that the response to a book without a title names the field."""
    invalid = BookCreate(title="", author_id=uuid4())
    response = create_book.sync_detailed(client=client, body=invalid)
    problem = check_problem(response, 422, "invalid-request")
    assert problem.errors
    assert not isinstance(problem.errors, Unset)
    [field_error] = problem.errors
    assert (field_error.pointer, field_error.code) == ("/title", "string_too_short")


def upload_file(client: AuthenticatedClient) -> None:
    """Create a document with a file, download the file, and delete the document."""
    content = b"Cien a\xc3\xb1os" * 100_000
    file = File(BytesIO(content), "Cien años.txt", "text/plain")
    form = CreateDocumentBody(name="A novel", file=file)
    created = check_response(
        create_document.sync_detailed(client=client, body=form), 201, DocumentRead
    )
    document = check_response(
        read_document.sync_detailed(created.id, client=client), 200, DocumentRead
    )
    assert (document.filename, document.content_type) == ("Cien años.txt", "text/plain")
    assert (document.size, document.sha256) == (len(content), sha256(content).hexdigest())
    assert document.file_url
    assert httpx.get(document.file_url, trust_env=False).content == content
    assert delete_document.sync_detailed(created.id, client=client).status_code == 204
    check_problem(read_document.sync_detailed(created.id, client=client), 404, "not-found")


def main(origin: str, email: str, password: str) -> None:
    """Use the service as a new user and as an administrator."""
    register_member(origin)
    with log_in(origin, email, password) as admin:
        author = create_and_update_author(admin)
        books = create_and_list_books(admin, author)
        create_invalid_book(admin)
        upload_file(admin)
        check_problem(delete_author.sync_detailed(author.id, client=admin), 409, "author-has-books")
        for book in books:
            assert delete_book.sync_detailed(book.id, client=admin).status_code == 204
        assert delete_author.sync_detailed(author.id, client=admin).status_code == 204


if __name__ == "__main__":
    main(*sys.argv[1:])
