"""Run the scenario with httpx and the models that datamodel-code-generator generates."""

from datetime import date
from typing import TypeVar
from uuid import UUID

import httpx
from bookshelf_models import (
    AccessToken,
    AuthorCreate,
    AuthorRead,
    AuthorUpdate,
    BookCreate,
    BookPage,
    BookRead,
    ChangePage,
    DeletedCount,
    Deletion,
    DocumentRead,
    LoginForm,
    Problem,
    UserCreate,
    UserRead,
)
from pydantic import BaseModel
from scenario import Changes, Page, ProblemError, run_scenario

Model = TypeVar("Model", bound=BaseModel)


def check_success(response: httpx.Response) -> None:
    """Raise `ProblemError` for an error response."""
    if response.is_error:
        problem = Problem.model_validate_json(response.content)
        errors = [(error.pointer, error.code) for error in problem.errors or []]
        raise ProblemError(problem.status, str(problem.type), problem.detail, errors)


def parse(model: type[Model], response: httpx.Response) -> Model:
    """Parse a response. Raise `ProblemError` for a problem.

    A model that loses or changes a field of the response fails.
    """
    check_success(response)
    result = model.model_validate_json(response.content)
    assert result.model_dump(mode="json") == response.json()
    return result


class HttpxClient:
    def __init__(self, origin: str, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=origin, headers=headers, trust_env=False)

    def send(
        self, method: str, path: str, body: BaseModel, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send a model as JSON, without the fields that were not set."""
        json = body.model_dump(mode="json", exclude_unset=True)
        return self.http.request(method, path, json=json, headers=headers)

    def create_token(self, email: str, password: str) -> str:
        form = LoginForm(username=email, password=password)
        response = self.http.post("/tokens", data=form.model_dump(exclude_unset=True))
        return parse(AccessToken, response).access_token

    def create_user(self, name: str, email: str, password: str) -> UserRead:
        user = UserCreate(name=name, email=email, password=password)
        return parse(UserRead, self.send("POST", "/users", user))

    def read_current_user(self) -> UserRead:
        return parse(UserRead, self.http.get("/users/me"))

    def create_author(self, name: str, dob: date | None, idempotency_key: str) -> AuthorRead:
        author = AuthorCreate(name=name, dob=dob)
        headers = {"Idempotency-Key": idempotency_key}
        return parse(AuthorRead, self.send("POST", "/authors", author, headers))

    def clear_date_of_birth(self, id: UUID, if_match: str) -> AuthorRead:
        change = AuthorUpdate(dob=None)
        return parse(
            AuthorRead, self.send("PATCH", f"/authors/{id}", change, {"If-Match": if_match})
        )

    def delete_author(self, id: UUID) -> None:
        check_success(self.http.delete(f"/authors/{id}"))

    def create_book(self, title: str, author_id: UUID) -> BookRead:
        # The model would refuse an empty title before the service does.
        book = BookCreate.model_construct(title=title, author_id=author_id)
        return parse(BookRead, self.send("POST", "/books", book))

    def list_books(self, author_id: UUID, ids: list[UUID], cursor: str | None) -> Page:
        query: dict[str, str | list[str]] = {
            "author_id": str(author_id),
            "id": list(map(str, ids)),
            "q": "book",
            "sort": "-title,created_at",
            "size": "2",
        }
        if cursor is not None:
            query["cursor"] = cursor
        page = parse(BookPage, self.http.get("/books", params=query))
        return Page(page.items, page.total, page.next)

    def export_books(self, author_id: UUID) -> str:
        response = self.http.get("/books.csv", params={"author_id": str(author_id)})
        check_success(response)
        return response.text

    def delete_book(self, id: UUID) -> None:
        check_success(self.http.delete(f"/books/{id}"))

    def delete_books(self, ids: list[UUID]) -> int:
        deletion = Deletion(ids=ids)
        return parse(DeletedCount, self.send("POST", "/books/deletions", deletion)).deleted

    def list_changes(self, after: str, wait: int) -> Changes:
        query: dict[str, str | int] = {"after": after, "wait": wait}
        page = parse(ChangePage, self.http.get("/changes", params=query, timeout=wait + 10))
        return Changes([(item.id, item.kind.value) for item in page.items], page.next)

    def create_document(self, name: str, filename: str, content: bytes) -> DocumentRead:
        file = (filename, content, "text/plain")
        response = self.http.post("/documents", data={"name": name}, files={"file": file})
        return parse(DocumentRead, response)

    def read_document(self, id: UUID) -> DocumentRead:
        return parse(DocumentRead, self.http.get(f"/documents/{id}"))

    def delete_document(self, id: UUID) -> None:
        check_success(self.http.delete(f"/documents/{id}"))


if __name__ == "__main__":
    run_scenario(HttpxClient)
