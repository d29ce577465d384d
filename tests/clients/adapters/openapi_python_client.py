"""Run the scenario with the client that openapi-python-client generates."""

from datetime import date
from io import BytesIO
from typing import TypeVar, cast
from uuid import UUID

from bookshelf_client import AuthenticatedClient, Client
from bookshelf_client.api.authors import create_author, delete_author, update_author
from bookshelf_client.api.books import (
    create_book,
    delete_book,
    delete_books,
    download_books_csv,
    list_books,
)
from bookshelf_client.api.changes import list_changes
from bookshelf_client.api.documents import create_document, delete_document, read_document
from bookshelf_client.api.tokens import create_token
from bookshelf_client.api.users import create_user, read_current_user
from bookshelf_client.models import (
    AccessToken,
    AuthorCreate,
    AuthorRead,
    AuthorUpdate,
    BookCreate,
    BookPage,
    BookRead,
    ChangePage,
    CreateDocumentBody,
    DeletedCount,
    Deletion,
    DocumentRead,
    ListBooksSortItem,
    LoginForm,
    Problem,
    UserCreate,
    UserRead,
)
from bookshelf_client.types import UNSET, File
from scenario import Changes, Page, ProblemError, run_scenario

Model = TypeVar("Model")


def check_success(response: object) -> None:
    """Raise `ProblemError` if the response of an operation is a problem."""
    if isinstance(response, Problem):
        errors = [(error.pointer or None, error.code) for error in response.errors or []]
        raise ProblemError(response.status, response.type_, response.detail, errors)


def expect(model: type[Model], response: object) -> Model:
    """Return the response of an operation. Raise `ProblemError` for a problem."""
    check_success(response)
    assert isinstance(response, model)
    return response


class GeneratedClient:
    def __init__(self, origin: str, token: str | None = None) -> None:
        if token is None:
            # Operations that may be called without a token require this type as well.
            self.client = cast("AuthenticatedClient", Client(origin))
        else:
            self.client = AuthenticatedClient(origin, token)

    def create_token(self, email: str, password: str) -> str:
        form = LoginForm(username=email, password=password)
        return expect(AccessToken, create_token.sync(client=self.client, body=form)).access_token

    def create_user(self, name: str, email: str, password: str) -> UserRead:
        user = UserCreate(name=name, email=email, password=password)
        return expect(UserRead, create_user.sync(client=self.client, body=user))

    def read_current_user(self) -> UserRead:
        return expect(UserRead, read_current_user.sync(client=self.client))

    def create_author(self, name: str, dob: date | None, idempotency_key: str) -> AuthorRead:
        author = AuthorCreate(name=name, dob=dob)
        return expect(
            AuthorRead,
            create_author.sync(client=self.client, body=author, idempotency_key=idempotency_key),
        )

    def clear_date_of_birth(self, id: UUID, if_match: str) -> AuthorRead:
        change = AuthorUpdate(dob=None)
        return expect(
            AuthorRead, update_author.sync(id, client=self.client, body=change, if_match=if_match)
        )

    def delete_author(self, id: UUID) -> None:
        check_success(delete_author.sync(id, client=self.client))

    def create_book(self, title: str, author_id: UUID) -> BookRead:
        book = BookCreate(title=title, author_id=author_id)
        return expect(BookRead, create_book.sync(client=self.client, body=book))

    def list_books(self, author_id: UUID, ids: list[UUID], cursor: str | None) -> Page:
        page = expect(
            BookPage,
            list_books.sync(
                client=self.client,
                author_id=author_id,
                id=ids,
                q="book",
                sort=[ListBooksSortItem.TITLE_DESC, ListBooksSortItem.CREATED_AT],
                size=2,
                cursor=cursor or UNSET,
            ),
        )
        return Page(page.items, page.total, page.next_)

    def export_books(self, author_id: UUID) -> str:
        return expect(str, download_books_csv.sync(client=self.client, author_id=author_id))

    def delete_book(self, id: UUID) -> None:
        check_success(delete_book.sync(id, client=self.client))

    def delete_books(self, ids: list[UUID]) -> int:
        deletion = Deletion(ids)
        return expect(DeletedCount, delete_books.sync(client=self.client, body=deletion)).deleted

    def list_changes(self, after: str, wait: int) -> Changes:
        page = expect(ChangePage, list_changes.sync(client=self.client, after=after, wait=wait))
        return Changes([(item.id, item.kind.value) for item in page.items], page.next_)

    def create_document(self, name: str, filename: str, content: bytes) -> DocumentRead:
        file = File(BytesIO(content), filename, "text/plain")
        form = CreateDocumentBody(name=name, file=file)
        return expect(DocumentRead, create_document.sync(client=self.client, body=form))

    def read_document(self, id: UUID) -> DocumentRead:
        return expect(DocumentRead, read_document.sync(id, client=self.client))

    def delete_document(self, id: UUID) -> None:
        check_success(delete_document.sync(id, client=self.client))


if __name__ == "__main__":
    run_scenario(GeneratedClient)
