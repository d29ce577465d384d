"""The operations of the API that are measured."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from benchmarks.contestants import PAGE_SIZE, Contestant
from benchmarks.dataset import AUTHOR_COUNT, DEPTHS, Dataset, spare_author_ids
from benchmarks.servers import Server
from benchmarks.wire import encode_request

# The number of authors that the operation update_author updates one after the other.
UPDATED_AUTHORS: Final = 1_000


@dataclass(frozen=True)
class Operation:
    """An operation, and the requests that measure it.

    Args:
        name: The name in the results.
        title: The heading in tables.
        requests: Returns the requests for one server, which are sent one after the other.
        spare_authors: The number of authors without books that the requests need.
        authors_added: The number of authors that each response stands for, -1 for a deletion.
        writes: Whether the requests change rows.
        send_once: Whether each request can be sent only once.
    """

    name: str
    title: str
    requests: Callable[[Contestant, Server, Dataset], list[bytes]]
    spare_authors: int = 0
    authors_added: int = 0
    writes: bool = False
    send_once: bool = False


def _read_book(_contestant: Contestant, _server: Server, data: Dataset) -> list[bytes]:
    return [encode_request(f"GET /books/{book}") for book in data.book_ids]


def _read_author(_contestant: Contestant, _server: Server, data: Dataset) -> list[bytes]:
    return [encode_request(f"GET /authors/{author}") for author in data.author_ids]


def _list_authors(contestant: Contestant, _server: Server, _data: Dataset) -> list[bytes]:
    return [
        encode_request(f"GET /authors?{contestant.page_query(rows)}")
        for rows in range(0, AUTHOR_COUNT, PAGE_SIZE)
    ]


def _list_books(depth: int, contestant: Contestant, server: Server, data: Dataset) -> list[bytes]:
    return [encode_request(f"GET /books?{contestant.query_after(server, data.positions[depth])}")]


def _create_author(_contestant: Contestant, _server: Server, _data: Dataset) -> list[bytes]:
    authors = ({"name": f"New author {n}", "dob": "1927-03-06"} for n in range(1_000))
    return [encode_request("POST /authors", json.dumps(author).encode()) for author in authors]


def _update_author(_contestant: Contestant, _server: Server, _data: Dataset) -> list[bytes]:
    body = json.dumps({"name": "Renamed author"}).encode()
    return [
        encode_request(f"PATCH /authors/{author}", body)
        for author in spare_author_ids(UPDATED_AUTHORS)
    ]


def _delete_author(
    count: int, _contestant: Contestant, _server: Server, _data: Dataset
) -> list[bytes]:
    return [encode_request(f"DELETE /authors/{author}") for author in spare_author_ids(count)]


def all_operations(deletions: int) -> dict[str, Operation]:
    """Return all operations by their names. A trial can delete `deletions` authors."""
    depths = (
        Operation(
            f"list_books_{depth}", f"GET /books, after {depth:,} rows", partial(_list_books, depth)
        )
        for depth in DEPTHS
    )
    delete = partial(_delete_author, deletions)
    operations = (
        Operation("read_book", "GET /books/{id}", _read_book),
        Operation("read_author", "GET /authors/{id}", _read_author),
        Operation("list_authors", "GET /authors, with total", _list_authors),
        *depths,
        Operation("create_author", "POST /authors", _create_author, authors_added=1, writes=True),
        Operation(
            "update_author", "PATCH /authors/{id}", _update_author, UPDATED_AUTHORS, writes=True
        ),
        Operation(
            "delete_author",
            "DELETE /authors/{id}",
            delete,
            deletions,
            -1,
            writes=True,
            send_once=True,
        ),
    )
    return {operation.name: operation for operation in operations}
