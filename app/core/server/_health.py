"""Is the process alive, and can it serve? Two questions for two probes."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from starlette.datastructures import State

from app.core.db import AutocommitSession, sqlstate
from app.core.errors import ServiceError, ShuttingDown, Unavailable
from app.core.http import JSON, Route, requires, responses
from app.core.storage import NotStored, Storage

DEADLINE: Final = 1.0  # seconds
LAST_WORDS: Final = 1.0  # seconds
NO_SUCH_TABLE: Final = "42P01"
_REVISION: Final = text("SELECT version_num FROM alembic_version")

READY: Final[dict[int | str, Any]] = {200: {"content": {JSON: {"example": {"status": "ready"}}}}}

router = APIRouter(tags=["health"], route_class=Route)


class Health(BaseModel):
    """The answer is in the status code."""

    status: Literal["alive", "ready"]


@router.get("/livez")
@requires(None)
async def read_liveness() -> Health:
    """Answers without any I/O: a database that is down is no reason to restart the service."""
    return Health(status="alive")


@router.get("/readyz", responses={**READY, **responses(Unavailable)})
@requires(None)
async def read_readiness(request: Request) -> Health:
    """Database and storage answer within a second, and the schema is the one this version needs."""
    readiness: Readiness = request.app.state.readiness
    await readiness.check()
    return Health(status="ready")


class Readiness:
    """What is wrong with the parts of an application's `state`, and whether it is to end.

    Probes share a look at a part: they take a connection and a thread of their own, and no more.
    """

    def __init__(self, state: State) -> None:
        self.stopping = False
        self._state, self._looks = state, dict[str, asyncio.Task[str | None]]()

    async def check(self) -> None:
        """Raise `Unavailable` with what is wrong, within `DEADLINE`."""
        looks = {} if self.stopping else {"database": self._database, "storage": self._storage}
        found = await asyncio.gather(*map(self._shared, looks, looks.values()))
        if self.stopping:
            raise ShuttingDown
        if faults := [fault for fault in found if fault]:
            raise Unavailable("; ".join(faults))

    @contextmanager
    def until_stopped(self) -> Iterator[None]:
        """What the server does on SIGTERM, it does after `LAST_WORDS`; until then we are not ready.

        It closes its port at once: whoever probes would not hear why, and who has just sent a
        request on a connection that was idle would get no answer.
        """
        loop, server = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
        if not callable(server):  # nobody serves
            yield
            return

        def stop(number: int, _frame: object) -> None:
            self.stopping = True
            loop.call_soon_threadsafe(loop.call_later, LAST_WORDS, server, number, None)

        signal.signal(signal.SIGTERM, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, server)

    async def _shared(
        self, part: str, look: Callable[[], Coroutine[None, None, str | None]]
    ) -> str | None:
        task = self._looks.get(part)
        if task is None or task.done():
            task = self._looks[part] = asyncio.create_task(look())
        # Not by cancelling it: to give up a server that does not answer takes time as well.
        await asyncio.wait({task}, timeout=DEADLINE)
        return task.result() if task.done() else f"{part}: does not answer"

    async def _database(self) -> str | None:
        session: AutocommitSession = self._state.database.binds["readiness"].reads
        return await database_fault(session, self._state.schema)

    async def _storage(self) -> str | None:
        storage: Storage = self._state.storage
        try:
            async with asyncio.timeout(DEADLINE):
                await storage.ping()
        except (ServiceError, TimeoutError):
            return "storage: does not answer"
        except NotStored:
            return "storage: has no such bucket"
        return None


async def database_fault(session: AutocommitSession, head: str) -> str | None:
    """What is wrong with the database."""
    try:
        async with asyncio.timeout(DEADLINE):
            rows = await session.execute(_REVISION)
    except (ServiceError, TimeoutError):
        return "database: does not answer"
    except DBAPIError as error:
        if (code := sqlstate(error)) != NO_SUCH_TABLE:
            return f"database: refuses, with SQLSTATE {code}"
        rows = []
    found = rows[0]["version_num"] if rows else "none"
    return None if found == head else f"database: its schema is at revision {found}, not at {head}"
