"""POST requests with an Idempotency-Key, and the operations that accept the key."""

from collections.abc import Awaitable, Callable
from typing import Any

from httpx import AsyncClient, Response

from tests.support.callers import GENERATED_CASES
from tests.support.entities import ENTITIES
from tests.support.entity_case import EntityCase
from tests.support.factories import make_author, make_direct_upload, make_document
from tests.support.multipart import FORM_HEADERS, form_body, form_field, form_file
from tests.support.requests import create_row, valid_body

KEY = "8e03978e-40d5-43dd-bc93-6894a57f9324"
REPLAYED_HEADER = "idempotency-replayed"
AUTHOR_REQUEST = {"json": {"name": "Ursula K. Le Guin"}}
USER_REQUEST = {"json": {"name": "Ada", "email": "ada@example.com", "password": "correct horse"}}
_UPLOAD_REQUEST = {"json": {"filename": "a.pdf", "content_type": "application/pdf", "size": 10}}

# Keyword arguments of `AsyncClient.post`, such as `json`, `content` and `headers`.
RequestArguments = dict[str, Any]
# The path of an operation, a request, and a different request to the same path. The latter is None
# for an operation without a body.
PreparedRequests = tuple[str, RequestArguments, RequestArguments | None]
# Creates the rows that the requests refer to, and returns the requests.
PrepareRequests = Callable[[AsyncClient], Awaitable[PreparedRequests]]


async def post_with_key(
    client: AsyncClient, path: str, request: RequestArguments, key: str = KEY
) -> Response:
    """Send a POST request with an Idempotency-Key."""
    headers = request.get("headers", {}) | {"Idempotency-Key": key}
    return await client.post(path, **{**request, "headers": headers})


def document_request(content: bytes = b"some bytes") -> RequestArguments:
    """Return the request that creates a document with a file."""
    return {
        "content": form_body(form_field("name", "Notes"), form_file(content)),
        "headers": FORM_HEADERS,
    }


async def _prepare_book(client: AsyncClient) -> PreparedRequests:
    author_id = (await make_author(client))["id"]
    first = {"json": {"title": "Rocannon", "author_id": author_id}}
    second = {"json": {"title": "Exile", "author_id": author_id}}
    return "/books", first, second


async def _prepare_batch_of_books(client: AsyncClient) -> PreparedRequests:
    _, *book_requests = await _prepare_book(client)
    first, second = [{"json": {"items": [request["json"]]}} for request in book_requests if request]
    return "/books/batch", first, second


async def _prepare_upload_start(client: AsyncClient) -> PreparedRequests:
    path = f"/documents/{(await make_document(client))['id']}/uploads"
    return path, _UPLOAD_REQUEST, {"json": _UPLOAD_REQUEST["json"] | {"size": 11}}


async def _prepare_upload_completion(client: AsyncClient) -> PreparedRequests:
    path = f"/documents/{(await make_document(client))['id']}"
    return f"{await make_direct_upload(client, path, b'some bytes')}/complete", {}, None


def _prepare_fixed(path: str, first: RequestArguments, second: RequestArguments) -> PrepareRequests:
    """Return a function for `POST_OPERATIONS` that returns these requests, which need no rows."""

    async def prepare(_: AsyncClient) -> PreparedRequests:
        return path, first, second

    return prepare


def _prepare_entity(case: EntityCase) -> PrepareRequests:
    """Return a function for `POST_OPERATIONS` that returns requests to create an entity."""

    async def prepare(client: AsyncClient) -> PreparedRequests:
        body = await valid_body(client, case)
        return case.path, {"json": body}, {"json": body | case.update}

    return prepare


def _prepare_deletion(case: EntityCase) -> PrepareRequests:
    """Return a function for `POST_OPERATIONS` that returns requests to delete one or two rows."""

    async def prepare(client: AsyncClient) -> PreparedRequests:
        ids = [(await create_row(client, case))["id"] for _ in range(2)]
        return f"{case.path}/deletions", {"json": {"ids": ids[:1]}}, {"json": {"ids": ids}}

    return prepare


# The operations that accept an Idempotency-Key, by operation id.
POST_OPERATIONS: dict[str, PrepareRequests] = {
    **{f"delete_{case.plural}": _prepare_deletion(case) for case in ENTITIES if case.deletes_many},
    **{f"create_{case.singular}": _prepare_entity(case) for case in GENERATED_CASES},
    "create_author": _prepare_fixed(
        "/authors", AUTHOR_REQUEST, {"json": {"name": "Octavia E. Butler"}}
    ),
    "create_book": _prepare_book,
    "create_books": _prepare_batch_of_books,
    "create_user": _prepare_fixed(
        "/users", USER_REQUEST, {"json": USER_REQUEST["json"] | {"password": "battery staple"}}
    ),
    "create_document": _prepare_fixed(
        "/documents", document_request(), document_request(content=b"same bytes")
    ),
    "create_upload": _prepare_upload_start,
    "complete_upload": _prepare_upload_completion,
}
