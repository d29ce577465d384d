"""Is the process alive, and can it serve? Two questions for two probes."""

import asyncio
from typing import Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core.access import requires
from app.core.database import ReadSession
from app.core.errors import ServiceError, Unavailable
from app.core.problems import responses
from app.core.routing import Route
from app.core.sessions import AutocommitSession
from app.core.sqlstate import sqlstate
from app.core.storage import NotStored, Storage

DEADLINE: Final = 1.0  # seconds
NO_SUCH_TABLE: Final = "42P01"
_REVISION: Final = text("SELECT version_num FROM alembic_version")

router = APIRouter(tags=["health"], route_class=Route)


class Health(BaseModel):
    """The answer is in the status code."""

    status: Literal["alive", "ready"]


@router.get("/livez")
@requires(None)
async def read_liveness() -> Health:
    """Answers without any I/O: a database that is down is no reason to restart the service."""
    return Health(status="alive")


@router.get("/readyz", responses=responses(Unavailable))
@requires(None)
async def read_readiness(request: Request, session: ReadSession) -> Health:
    """Database and storage answer within a second, and the schema is the one this version needs."""
    state = request.app.state
    faults = await asyncio.gather(
        database_fault(session, state.schema_head), _storage(state.storage)
    )
    if found := "; ".join(fault for fault in faults if fault):
        raise Unavailable(found)
    return Health(status="ready")


async def database_fault(session: AutocommitSession, head: str) -> str | None:
    """What is wrong with the database."""
    try:
        async with asyncio.timeout(DEADLINE):
            rows = await session.rows(_REVISION, {})
    except (ServiceError, TimeoutError):
        return "database: does not answer"
    except DBAPIError as error:
        if (code := sqlstate(error)) != NO_SUCH_TABLE:
            return f"database: refuses, with SQLSTATE {code}"
        rows = ()
    found = rows[0].version_num if rows else "none"
    return None if found == head else f"database: its schema is at revision {found}, not at {head}"


async def _storage(storage: Storage) -> str | None:
    """What is wrong with the storage."""
    try:
        async with asyncio.timeout(DEADLINE):
            await storage.ping()
    except (ServiceError, TimeoutError):
        return "storage: does not answer"
    except NotStored:
        return "storage: has no such bucket"
    return None
