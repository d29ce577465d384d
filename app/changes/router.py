"""HTTP endpoint of the change feed."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, Final, TypeVar

from fastapi import Query, Request
from starlette.requests import ClientDisconnect

from app.changes.errors import CursorExpired
from app.changes.schemas import ChangePage, ChangeQuery
from app.changes.service import ChangeService
from app.changes.visibility import Visibility
from app.core.errors import TooManyRequests
from app.core.http import NO_STORE, CurrentCaller, CurrentPrincipal, RequestSession, Router
from app.resources import AppResources

T = TypeVar("T")
# A part of REQUEST_TIMEOUT. The rest is for reading from the database.
MAX_WAIT_SHARE: Final = 0.75

router = Router(prefix="/changes", tags=["changes"], cache_control=NO_STORE)


@router.get("", permission="catalog:read", errors=[CursorExpired, TooManyRequests])
async def list_changes(
    query: Annotated[ChangeQuery, Query()],
    session: RequestSession,
    principal: CurrentPrincipal,
    caller: CurrentCaller,
    resources: AppResources,
    request: Request,
) -> ChangePage:
    """List the changes that the caller may read.

    Each change is listed once, and none is missed. Begin with `after=now`, then read the lists, and
    then request the changes after the `next` of each response. Changes are in the order in which
    their transactions began to write. If two transactions overlap, the later change of a resource
    may come first, so ignore a change whose `version` is not higher than the one that is known.
    """
    watcher = resources.change_watcher
    service = ChangeService(session, watcher, Visibility.of(principal))
    if query.wait == 0:
        return await service.read(query, wait_seconds=0)
    wait_seconds = min(query.wait, MAX_WAIT_SHARE * resources.settings.request_timeout)
    with watcher.reserve(caller):
        return await _run_while_connected(request, service.read(query, wait_seconds))


async def _run_while_connected(request: Request, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine, and cancel it if the client disconnects. Raises `ClientDisconnect` then."""
    task = asyncio.create_task(coroutine)
    disconnect_task = asyncio.create_task(_wait_for_disconnect(request))
    try:
        await asyncio.wait((task, disconnect_task), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
    finally:
        task.cancel()
        disconnect_task.cancel()
        await asyncio.gather(task, disconnect_task, return_exceptions=True)
    return task.result()


async def _wait_for_disconnect(request: Request) -> None:
    """Return when the client has closed the connection."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            return
