"""Who is measured: how each is started and how each is asked for a page."""

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
from benchmarks.servers import BOOKSHELF_MODULE, PROJECT_ROOT, TUTORIAL_MODULE, Server
from benchmarks.wire import encode_request

PAGE_SIZE: Final = 20  # rows
PEER_PYTHON: Final = (
    PROJECT_ROOT / ".venv-bench" / "bin" / "python"
)  # of the peers, made by `make bench`
FASTIFY_DIRECTORY: Final = PROJECT_ROOT / "benchmarks" / "peers" / "fastify"


@dataclass(frozen=True)
class Contestant:
    """`page` and `after` are queries: of a page with the total, given the rows before it, and of
    one without it, given the row before it.
    """

    name: str
    command: tuple[str, ...]
    page: Callable[[int], str]
    after: Callable[[Server, Position | None], str]
    needs: Path | None = None  # what is there where it can be started


def installed_contestants() -> list[Contestant]:
    """Those that can be started here, ours first and the limit last."""
    return [each for each in CONTESTANTS if each.needs is None or each.needs.exists()]


def _pages(name: str, size: str) -> Callable[[int], str]:
    return lambda rows: f"{name}={rows // PAGE_SIZE + 1}&{size}={PAGE_SIZE}"


def _offsets(name: str, size: str) -> Callable[[int], str]:
    return lambda rows: f"{name}={rows}&{size}={PAGE_SIZE}"


def _by_rows(page: Callable[[int], str]) -> Callable[[Server, Position | None], str]:
    """Of those who know no cursor."""
    return lambda _server, position: page(position.rows if position else 0)


def _by_our_cursor(server: Server, position: Position | None) -> str:
    if position is None:
        return f"count=none&size={PAGE_SIZE}"
    page = f"GET /books?count=none&size=100&page={position.rows // 100}"
    return f"cursor={server.ask(encode_request(page))[1]['next']}&size={PAGE_SIZE}"


def _by_ninja_cursor(_server: Server, position: Position | None) -> str:
    if position is None:
        return f"page_size={PAGE_SIZE}"
    cursor = urlencode({"p": str(position.created_at), "o": 1})  # from that row on, without it
    return urlencode({"cursor": b64encode(cursor.encode()).decode(), "page_size": PAGE_SIZE})


def _by_key(_server: Server, position: Position | None) -> str:
    after = position.created_at.isoformat() if position else "0001-01-01T00:00:00+00:00"
    key = position.id if position else "00000000-0000-0000-0000-000000000000"
    return urlencode({"after": after, "id": key, "limit": PAGE_SIZE})


def _uvicorn(module: str) -> tuple[str, ...]:
    ours = (
        word.replace("benchmarks.tutorial", f"benchmarks.peers.{module}")
        for word in TUTORIAL_MODULE
    )
    return (str(PEER_PYTHON), "-m", *ours)


def _ours(*module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *module)


_ALCHEMY: Final = _pages("currentPage", "pageSize")
_TEMPLATE: Final = _offsets("skip", "limit")
_LIMITS: Final = _offsets("offset", "limit")
NODE: Final = shutil.which("node") or os.devnull
CONTESTANTS: Final = (
    Contestant("bookshelf", _ours(*BOOKSHELF_MODULE), _pages("page", "size"), _by_our_cursor),
    Contestant(
        "tutorial",
        _ours(*TUTORIAL_MODULE),
        _pages("page", "size"),
        _by_rows(_pages("page", "size")),
    ),
    Contestant(
        "FastAPI + Advanced Alchemy",
        _uvicorn("fastapi_alchemy"),
        _ALCHEMY,
        _by_rows(_ALCHEMY),
        PEER_PYTHON,
    ),
    Contestant(
        "Litestar + Advanced Alchemy",
        _uvicorn("litestar_alchemy"),
        _ALCHEMY,
        _by_rows(_ALCHEMY),
        PEER_PYTHON,
    ),
    Contestant(
        "FastAPI + SQLModel, sync",
        _uvicorn("sqlmodel_template"),
        _TEMPLATE,
        _by_rows(_TEMPLATE),
        PEER_PYTHON,
    ),
    Contestant("Django Ninja", _uvicorn("django_ninja"), _LIMITS, _by_ninja_cursor, PEER_PYTHON),
    Contestant(
        "Fastify",
        (NODE, str(FASTIFY_DIRECTORY / "server.js")),
        _LIMITS,
        _by_rows(_LIMITS),
        FASTIFY_DIRECTORY / "node_modules",
    ),
    Contestant(
        "limit",
        _ours(*(w.replace("tutorial", "peers.raw_asyncpg") for w in TUTORIAL_MODULE)),
        _LIMITS,
        _by_key,
    ),
)
