"""The operations that are measured, as the bytes that go over the wire."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from benchmarks.dataset import AUTHORS

PAGE_SIZE: Final = 20  # authors


@dataclass(frozen=True)
class Operation:
    """`requests` turns the ids of all books into complete HTTP/1.1 requests, sent in turn."""

    name: str
    title: str
    requests: Callable[[Sequence[UUID]], list[bytes]]
    writes: bool = False


def request(line: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
    """A request as it goes over the wire."""
    head = [f"{line} HTTP/1.1", "Host: localhost", "Accept: application/json"]
    if body is not None:
        head += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + (body or b"")


def _read_book(books: Sequence[UUID]) -> list[bytes]:
    return [request(f"GET /books/{book}") for book in books]


def _list_authors(_books: Sequence[UUID]) -> list[bytes]:
    pages = range(1, AUTHORS // PAGE_SIZE + 1)
    return [request(f"GET /authors?page={page}&size={PAGE_SIZE}") for page in pages]


def _create_author(_books: Sequence[UUID]) -> list[bytes]:
    authors = ({"name": f"New author {n}", "dob": "1927-03-06"} for n in range(1_000))
    return [request("POST /authors", json.dumps(author).encode()) for author in authors]


OPERATIONS: Final = {
    operation.name: operation
    for operation in (
        Operation("read_book", "GET /books/{id}", _read_book),
        Operation("list_authors", "GET /authors?page&size", _list_authors),
        Operation("create_author", "POST /authors", _create_author, writes=True),
    )
}
