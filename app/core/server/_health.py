"""The health endpoints: is the process alive, and can it serve requests?"""

from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from app.core.errors import Unavailable
from app.core.http import JSON, Route, requires, responses
from app.core.server._readiness import Readiness

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
