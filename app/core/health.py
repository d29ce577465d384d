"""Is the process alive, and can it serve? Two questions for two probes."""

import asyncio
from typing import Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.core.database import ReadSession
from app.core.errors import ServiceError, Unavailable
from app.core.problems import responses
from app.core.routing import Route

DEADLINE: Final = 1.0  # seconds
_REVISION: Final = text("SELECT version_num FROM alembic_version")

router = APIRouter(tags=["health"], route_class=Route)


class Health(BaseModel):
    """The answer is in the status code."""

    status: Literal["alive", "ready"]


@router.get("/livez")
async def read_liveness() -> Health:
    """Answers without any I/O: a database that is down is no reason to restart the service."""
    return Health(status="alive")


@router.get("/readyz", responses=responses(Unavailable))
async def read_readiness(request: Request, session: ReadSession) -> Health:
    """The database answers within a second and its schema is the one this version needs."""
    try:
        async with asyncio.timeout(DEADLINE):
            rows = await session.rows(_REVISION, {})
    except (ServiceError, TimeoutError):
        raise Unavailable("database: does not answer") from None
    except DBAPIError:  # there is no such table
        rows = ()
    found, head = (rows[0].version_num if rows else "none"), request.app.state.schema_head
    if found != head:
        raise Unavailable(f"database: its schema is at revision {found}, not at {head}")
    return Health(status="ready")
