"""The operations that are measured."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.contestants import PAGE_SIZE, Contestant
from benchmarks.dataset import AUTHOR_COUNT, DEPTHS, Dataset, spare_author_ids
from benchmarks.servers import Server
from benchmarks.wire import encode_request

UPDATED_AUTHORS: Final = 1_000  # authors that are changed in turn


@dataclass(frozen=True)
class Operation:
    """`requests` are sent in turn; where each can be sent `once`, there are `rate` for a second."""

    name: str
    title: str
    requests: Callable[[Contestant, Server, Dataset], list[bytes]]
    spares: int = 0  # authors without books that there have to be
    adds: int = 0  # authors that each answer means
    writes: bool = False
    once: bool = False


def _read_book(_who: Contestant, _server: Server, data: Dataset) -> list[bytes]:
    return [encode_request(f"GET /books/{book}") for book in data.books]


def _read_author(_who: Contestant, _server: Server, data: Dataset) -> list[bytes]:
    return [encode_request(f"GET /authors/{author}") for author in data.authors]


def _list_authors(who: Contestant, _server: Server, _data: Dataset) -> list[bytes]:
    return [
        encode_request(f"GET /authors?{who.page(n)}") for n in range(0, AUTHOR_COUNT, PAGE_SIZE)
    ]


def _list_books(depth: int, who: Contestant, server: Server, data: Dataset) -> list[bytes]:
    return [encode_request(f"GET /books?{who.after(server, data.positions[depth])}")]


def _create_author(_who: Contestant, _server: Server, _data: Dataset) -> list[bytes]:
    authors = ({"name": f"New author {n}", "dob": "1927-03-06"} for n in range(1_000))
    return [encode_request("POST /authors", json.dumps(author).encode()) for author in authors]


def _update_author(_who: Contestant, _server: Server, _data: Dataset) -> list[bytes]:
    body = json.dumps({"name": "Renamed author"}).encode()
    return [
        encode_request(f"PATCH /authors/{author}", body)
        for author in spare_author_ids(UPDATED_AUTHORS)
    ]


def _delete_author(count: int, _who: Contestant, _server: Server, _data: Dataset) -> list[bytes]:
    return [encode_request(f"DELETE /authors/{author}") for author in spare_author_ids(count)]


def all_operations(deletions: int) -> dict[str, Operation]:
    """All, by name. So many authors can be deleted in one trial."""
    depths = (
        Operation(
            f"list_books_{depth}", f"GET /books, after {depth:,} rows", partial(_list_books, depth)
        )
        for depth in DEPTHS
    )
    delete = partial(_delete_author, deletions)
    found = (
        Operation("read_book", "GET /books/{id}", _read_book),
        Operation("read_author", "GET /authors/{id}", _read_author),
        Operation("list_authors", "GET /authors, with total", _list_authors),
        *depths,
        Operation("create_author", "POST /authors", _create_author, adds=1, writes=True),
        Operation(
            "update_author", "PATCH /authors/{id}", _update_author, UPDATED_AUTHORS, writes=True
        ),
        Operation(
            "delete_author", "DELETE /authors/{id}", delete, deletions, -1, writes=True, once=True
        ),
    )
    return {operation.name: operation for operation in found}
