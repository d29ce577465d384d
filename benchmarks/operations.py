"""The operations that are measured."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.contestants import PAGE_SIZE, Contestant
from benchmarks.dataset import AUTHORS, DEPTHS, Data, spares
from benchmarks.servers import Server
from benchmarks.wire import request

SPARES: Final = 1_000  # authors that are changed in turn


@dataclass(frozen=True)
class Operation:
    """`requests` are sent in turn; where each can be sent `once`, there are `rate` for a second."""

    name: str
    title: str
    requests: Callable[[Contestant, Server, Data], list[bytes]]
    spares: int = 0  # authors without books that there have to be
    adds: int = 0  # authors that each answer means
    writes: bool = False
    once: bool = False


def _read_book(_who: Contestant, _server: Server, data: Data) -> list[bytes]:
    return [request(f"GET /books/{book}") for book in data.books]


def _read_author(_who: Contestant, _server: Server, data: Data) -> list[bytes]:
    return [request(f"GET /authors/{author}") for author in data.authors]


def _list_authors(who: Contestant, _server: Server, _data: Data) -> list[bytes]:
    return [request(f"GET /authors?{who.page(n)}") for n in range(0, AUTHORS, PAGE_SIZE)]


def _list_books(depth: int, who: Contestant, server: Server, data: Data) -> list[bytes]:
    return [request(f"GET /books?{who.after(server, data.positions[depth])}")]


def _create_author(_who: Contestant, _server: Server, _data: Data) -> list[bytes]:
    authors = ({"name": f"New author {n}", "dob": "1927-03-06"} for n in range(1_000))
    return [request("POST /authors", json.dumps(author).encode()) for author in authors]


def _update_author(_who: Contestant, _server: Server, _data: Data) -> list[bytes]:
    body = json.dumps({"name": "Renamed author"}).encode()
    return [request(f"PATCH /authors/{author}", body) for author in spares(SPARES)]


def _delete_author(count: int, _who: Contestant, _server: Server, _data: Data) -> list[bytes]:
    return [request(f"DELETE /authors/{author}") for author in spares(count)]


def operations(deletions: int) -> dict[str, Operation]:
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
        Operation("update_author", "PATCH /authors/{id}", _update_author, SPARES, writes=True),
        Operation(
            "delete_author", "DELETE /authors/{id}", delete, deletions, -1, writes=True, once=True
        ),
    )
    return {operation.name: operation for operation in found}
