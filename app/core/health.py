"""Is the process alive, and can it serve? Two different questions for two different probes."""

import asyncio
from typing import Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core import problems
from app.core.database import ReadSession, Session
from app.core.errors import ServiceError, Unavailable
from app.core.routing import Route

DEADLINE: Final = 1.0  # seconds
_REVISION: Final = text("SELECT version_num FROM alembic_version")

router = APIRouter(tags=["health"], route_class=Route)


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = Field(description="Always `alive`")


class Ready(BaseModel):
    """Every part answers."""

    status: Literal["ready"] = Field(description="Always `ready`")


@router.get("/livez", summary="Is the process alive?")
async def read_liveness() -> Alive:
    """Answers without any I/O: a database that is down is no reason to restart the service."""
    return Alive(status="alive")


@router.get("/readyz", summary="Can it serve?", responses=problems.responses(Unavailable))
async def read_readiness(request: Request, session: ReadSession) -> Ready:
    """The database answers within a second and its schema is the one this version needs."""
    if reason := await _database_fault(session, request.app.state.schema_head):
        raise Unavailable(reason)
    return Ready(status="ready")


async def _database_fault(session: Session, head: str) -> str | None:
    try:
        async with asyncio.timeout(DEADLINE):
            rows = await session.rows(_REVISION, {})
    except (ServiceError, TimeoutError):
        return "database: does not answer"
    except DBAPIError:  # the table is missing
        return "database: has no schema; run python -m app migrate"
    found = rows[0].version_num if rows else "none"
    return None if found == head else f"database: schema is at {found}, not at {head}"
