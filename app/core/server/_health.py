"""The health endpoints: `/livez` (is the process alive?) and `/readyz` (can it serve requests?)."""

from typing import Any, Final, Literal

from fastapi import Request
from pydantic import BaseModel

from app.core.errors import Unavailable
from app.core.http import JSON_MEDIA_TYPE, NO_STORE, Router
from app.core.server._resources import server_resources

_READY_RESPONSE: Final[dict[int | str, Any]] = {
    200: {"content": {JSON_MEDIA_TYPE: {"example": {"status": "ready"}}}}
}

router = Router(tags=["health"], cache_control=NO_STORE)


class Health(BaseModel):
    """The result of a successful health check. A failed check returns a problem instead."""

    status: Literal["alive", "ready"]


@router.get("/livez", permission="public")
async def read_liveness() -> Health:
    """Check that the process is alive.

    This check does no I/O, so that an outage of the database does not restart the process.
    """
    return Health(status="alive")


@router.get("/readyz", permission="public", errors=[Unavailable], responses=_READY_RESPONSE)
async def read_readiness(request: Request) -> Health:
    """Check that the service can handle requests.

    Returns 200 if the database and the object store respond within a second, both accept writes of
    the service, and the database has the schema that this version of the service needs. Otherwise,
    returns 503 with all failures.
    """
    await server_resources(request).readiness.check()
    return Health(status="ready")
