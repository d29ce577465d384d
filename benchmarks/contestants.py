"""The servers that are compared: how each is started, and how a page is requested from it."""

import os
import shutil
import sys
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from benchmarks.dataset import Position
from benchmarks.forms import Form
from benchmarks.servers import PROJECT_ROOT, SERVICE_MODULE, TUTORIAL_MODULE, Server
from benchmarks.wire import add_token, encode_request

# Rows per page.
PAGE_SIZE: Final = 20
# The interpreter of the virtual environment for the peers, which `make bench` creates.
PEER_PYTHON: Final = PROJECT_ROOT / ".venv-bench" / "bin" / "python"
# No request needs the object store, so the service does not start an embedded one.
OBJECT_STORE: Final = {"S3_BUCKET": "bookshelf", "S3_ENDPOINT_URL": "http://127.0.0.1:9"}
FASTIFY_DIRECTORY: Final = PROJECT_ROOT / "benchmarks" / "peers" / "fastify"


@dataclass(frozen=True)
class Contestant:
    """A server that is compared with the others.

    Args:
        name: The name in the results.
        command: Returns the words of the command that starts it in a form.
        page_query: Returns the query string of a page with the total, from the number of rows
            before the page: `page=6&size=20`.
        query_after: Returns the query string of a page without the total, from the last row before
            the page.
        required_path: A file or directory that exists if the server is installed.
    """

    name: str
    command: Callable[[Form], tuple[str, ...]]
    page_query: Callable[[int], str]
    query_after: Callable[[Server, Position | None], str]
    required_path: Path | None = None


def installed_contestants() -> list[Contestant]:
    """Return the contestants that can be started on this machine, this service first."""
    return [
        contestant
        for contestant in CONTESTANTS
        if contestant.required_path is None or contestant.required_path.exists()
    ]


def _by_page(page_parameter: str, size_parameter: str) -> Callable[[int], str]:
    """Return a function that makes the query string of a numbered page: `page=6&size=20`."""
    return lambda rows: f"{page_parameter}={rows // PAGE_SIZE + 1}&{size_parameter}={PAGE_SIZE}"


def _by_offset(offset_parameter: str, size_parameter: str) -> Callable[[int], str]:
    """Return a function that makes a query string with an offset: `offset=100&limit=20`."""
    return lambda rows: f"{offset_parameter}={rows}&{size_parameter}={PAGE_SIZE}"


def _without_cursor(page_query: Callable[[int], str]) -> Callable[[Server, Position | None], str]:
    """Return `query_after` of a server without cursors, which counts the rows before the page."""

    def query_after(_server: Server, position: Position | None) -> str:
        rows = position.rows if position else 0
        return page_query(rows)

    return query_after


def _bookshelf_cursor(server: Server, position: Position | None) -> str:
    """Return the query string of the page after a row, with a cursor that the server creates."""
    if position is None:
        return f"count=none&size={PAGE_SIZE}"
    # The cursor of the page that ends with the row.
    previous_page = f"GET /books?count=none&size=100&page={position.rows // 100}"
    _status, page = server.send(add_token(encode_request(previous_page), server.token))
    return f"cursor={page['next']}&size={PAGE_SIZE}"


def _django_ninja_cursor(_server: Server, position: Position | None) -> str:
    """Return the query string of the page after a row, with a cursor of Django Ninja."""
    if position is None:
        return f"page_size={PAGE_SIZE}"
    # The cursor names a value, and how many rows with this value to skip.
    cursor = urlencode({"p": str(position.created_at), "o": 1})
    return urlencode({"cursor": b64encode(cursor.encode()).decode(), "page_size": PAGE_SIZE})


def _after_key(_server: Server, position: Position | None) -> str:
    """Return a query string with the sort key of the last row before the page."""
    after = position.created_at.isoformat() if position else "0001-01-01T00:00:00+00:00"
    key = position.id if position else "00000000-0000-0000-0000-000000000000"
    return urlencode({"after": after, "id": key, "limit": PAGE_SIZE})


def _serve_bookshelf(_form: Form) -> tuple[str, ...]:
    """Return the command that runs this service, which the environment configures."""
    return (sys.executable, "-m", *SERVICE_MODULE)


def _serve_with_uvicorn(python: str | Path, application: str) -> Callable[[Form], tuple[str, ...]]:
    """Return the command of an ASGI application, with the access log of uvicorn in production."""
    module = tuple(word.replace("benchmarks.tutorial:app", application) for word in TUTORIAL_MODULE)

    def command(form: Form) -> tuple[str, ...]:
        words = (str(python), "-m", *module, f"--workers={form.processes}")
        if form.is_production:
            words += ("--access-log", "--log-level=info")
        return words

    return command


def _serve_without_access_log(
    python: str | Path, application: str
) -> Callable[[Form], tuple[str, ...]]:
    """Return the command of an ASGI application that logs requests itself."""
    serve = _serve_with_uvicorn(python, application)
    return lambda form: (*serve(form), "--no-access-log")


def _serve_with_node(_form: Form) -> tuple[str, ...]:
    """Return the command of the Fastify server, which the environment configures."""
    return (NODE, str(FASTIFY_DIRECTORY / "server.js"))


# The pagination parameters of several contestants.
_PAGE_AND_SIZE: Final = _by_page("page", "size")
_CURRENT_PAGE: Final = _by_page("currentPage", "pageSize")
_SKIP_AND_LIMIT: Final = _by_offset("skip", "limit")
_OFFSET_AND_LIMIT: Final = _by_offset("offset", "limit")
NODE: Final = shutil.which("node") or os.devnull
CONTESTANTS: Final = (
    Contestant(
        name="bookshelf",
        command=_serve_bookshelf,
        page_query=_PAGE_AND_SIZE,
        query_after=_bookshelf_cursor,
    ),
    Contestant(
        name="tutorial",
        command=_serve_with_uvicorn(sys.executable, "benchmarks.tutorial:app"),
        page_query=_PAGE_AND_SIZE,
        query_after=_without_cursor(_PAGE_AND_SIZE),
    ),
    Contestant(
        name="FastAPI + Advanced Alchemy",
        command=_serve_with_uvicorn(PEER_PYTHON, "benchmarks.peers.fastapi_alchemy:app"),
        page_query=_CURRENT_PAGE,
        query_after=_without_cursor(_CURRENT_PAGE),
        required_path=PEER_PYTHON,
    ),
    Contestant(
        name="Litestar + Advanced Alchemy",
        command=_serve_without_access_log(PEER_PYTHON, "benchmarks.peers.litestar_alchemy:app"),
        page_query=_CURRENT_PAGE,
        query_after=_without_cursor(_CURRENT_PAGE),
        required_path=PEER_PYTHON,
    ),
    Contestant(
        name="FastAPI + SQLModel, sync",
        command=_serve_with_uvicorn(PEER_PYTHON, "benchmarks.peers.sqlmodel_template:app"),
        page_query=_SKIP_AND_LIMIT,
        query_after=_without_cursor(_SKIP_AND_LIMIT),
        required_path=PEER_PYTHON,
    ),
    Contestant(
        name="Django Ninja",
        command=_serve_with_uvicorn(PEER_PYTHON, "benchmarks.peers.django_ninja:app"),
        page_query=_OFFSET_AND_LIMIT,
        query_after=_django_ninja_cursor,
        required_path=PEER_PYTHON,
    ),
    Contestant(
        name="Fastify",
        command=_serve_with_node,
        page_query=_OFFSET_AND_LIMIT,
        query_after=_without_cursor(_OFFSET_AND_LIMIT),
        required_path=FASTIFY_DIRECTORY / "node_modules",
    ),
    Contestant(
        name="limit",
        command=_serve_without_access_log(sys.executable, "benchmarks.peers.raw_asyncpg:app"),
        page_query=_OFFSET_AND_LIMIT,
        query_after=_after_key,
    ),
)
