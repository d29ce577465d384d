"""The health endpoints: is the process alive, and can it serve requests?"""

from typing import Any, Final, Literal

from fastapi import Request
from pydantic import BaseModel

from app.core.errors import Unavailable
from app.core.http import JSON, Router
from app.core.server._resources import server_resources

READY: Final[dict[int | str, Any]] = {200: {"content": {JSON: {"example": {"status": "ready"}}}}}

router = Router(tags=["health"], cache_control=None)


class Health(BaseModel):
    """The answer is in the status code."""

    status: Literal["alive", "ready"]


@router.get("/livez", permission="public")
async def read_liveness() -> Health:
    """Check that the process is alive.

    The check does no I/O: restarting the service would not help if the database is down.
    """
    return Health(status="alive")


@router.get("/readyz", permission="public", errors=[Unavailable], responses=READY)
async def read_readiness(request: Request) -> Health:
    """Check that the service can handle requests.

    The response is 200 if the database and the object store respond within a second and the
    schema of the database is the one that this version needs.
    """
    await server_resources(request).readiness.check()
    return Health(status="ready")
