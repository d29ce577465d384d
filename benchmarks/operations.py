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


def _read_book_requests(_contestant: Contestant, _server: Server, data: Dataset) -> list[bytes]:
    """Return one request for each book of the sample."""
    return [encode_request(f"GET /books/{book_id}") for book_id in data.book_ids]


def _read_author_requests(_contestant: Contestant, _server: Server, data: Dataset) -> list[bytes]:
    """Return one request for each author."""
    return [encode_request(f"GET /authors/{author_id}") for author_id in data.author_ids]


def _list_authors_requests(contestant: Contestant, _server: Server, _data: Dataset) -> list[bytes]:
    """Return one request for each page of authors, with the total."""
    queries = [contestant.page_query(rows) for rows in range(0, AUTHOR_COUNT, PAGE_SIZE)]
    return [encode_request(f"GET /authors?{query}") for query in queries]


def _list_books_requests(
    depth: int, contestant: Contestant, server: Server, data: Dataset
) -> list[bytes]:
    """Return a request for the page of books after `depth` rows, without the total."""
    query = contestant.query_after(server, data.positions[depth])
    return [encode_request(f"GET /books?{query}")]


def _create_author_requests(
    _contestant: Contestant, _server: Server, _data: Dataset
) -> list[bytes]:
    """Return requests that create authors with different names."""
    requests = []
    for number in range(1_000):
        author = {"name": f"New author {number}", "dob": "1927-03-06"}
        requests.append(encode_request("POST /authors", json.dumps(author).encode()))
    return requests


def _update_author_requests(
    _contestant: Contestant, _server: Server, _data: Dataset
) -> list[bytes]:
    """Return one request for each spare author that renames it."""
    body = json.dumps({"name": "Renamed author"}).encode()
    author_ids = spare_author_ids(UPDATED_AUTHORS)
    return [encode_request(f"PATCH /authors/{author_id}", body) for author_id in author_ids]


def _delete_author_requests(
    count: int, _contestant: Contestant, _server: Server, _data: Dataset
) -> list[bytes]:
    """Return one request for each of `count` spare authors that deletes it."""
    author_ids = spare_author_ids(count)
    return [encode_request(f"DELETE /authors/{author_id}") for author_id in author_ids]


def all_operations(deletions: int) -> dict[str, Operation]:
    """Return all operations by their names. A trial can delete `deletions` authors."""
    list_books_operations = [
        Operation(
            f"list_books_{depth}",
            f"GET /books, after {depth:,} rows",
            partial(_list_books_requests, depth),
        )
        for depth in DEPTHS
    ]
    operations = [
        Operation("read_book", "GET /books/{id}", _read_book_requests),
        Operation("read_author", "GET /authors/{id}", _read_author_requests),
        Operation("list_authors", "GET /authors, with total", _list_authors_requests),
        *list_books_operations,
        Operation(
            "create_author", "POST /authors", _create_author_requests, authors_added=1, writes=True
        ),
        Operation(
            "update_author",
            "PATCH /authors/{id}",
            _update_author_requests,
            spare_authors=UPDATED_AUTHORS,
            writes=True,
        ),
        Operation(
            "delete_author",
            "DELETE /authors/{id}",
            partial(_delete_author_requests, deletions),
            spare_authors=deletions,
            authors_added=-1,
            writes=True,
            send_once=True,
        ),
    ]
    return {operation.name: operation for operation in operations}
