"""Operations on the change feed."""

import asyncio
from datetime import timedelta
from typing import Final

from app.changes.cursors import Position, open_cursor, seal_cursor
from app.changes.errors import CursorExpired
from app.changes.repository import ChangeRepository, FeedState
from app.changes.schemas import NOW, ChangePage, ChangeQuery, ChangeRead
from app.changes.visibility import Visibility
from app.core.change_watcher import ChangeWatcher
from app.core.db import Row, Session
from app.core.errors import Unavailable
from app.core.observability import CHANGE_FEED_DELAY
from app.settings import Settings

# How long a request without `wait` may pass over changes that its principal may not see.
SCAN_SECONDS: Final = 5.0


class ChangeService:
    """Reads the change feed for one principal."""

    def __init__(self, session: Session, watcher: ChangeWatcher, visibility: Visibility) -> None:
        self._repository = ChangeRepository(session)
        self._watcher = watcher
        self._visibility = visibility

    async def read(self, query: ChangeQuery, wait_seconds: float) -> ChangePage:
        """Return the changes after a cursor. If there are none, wait for some.

        Raises `CursorExpired` if changes after the cursor may be missing.

        Args:
            query: The cursor and the maximum number of changes.
            wait_seconds: How long to wait for a change.
        """
        state = await self._read_usable_state()
        cursor_key = self._visibility.derive_cursor_key(state.epoch)
        position = _find_start(query.after, cursor_key, state)
        now = asyncio.get_running_loop().time
        started_at = now()
        while True:
            async with self._watcher.read_slots:
                scan = await self._repository.scan(
                    position, state.epoch, self._visibility, query.size
                )
            if scan is None:
                raise CursorExpired
            CHANGE_FEED_DELAY.set(scan.delay_seconds)
            position = scan.end
            elapsed = now() - started_at
            if scan.changes:
                break
            if scan.is_complete:
                remaining = wait_seconds - elapsed
                if not await self._watcher.wait(self._visibility.covers, scan.horizon, remaining):
                    break
            elif elapsed > max(wait_seconds, SCAN_SECONDS):
                break
        items = [_to_model(row) for row in scan.changes]
        return ChangePage(items=items, next=seal_cursor(position, cursor_key))

    async def _read_usable_state(self) -> FeedState:
        """Return the state of the feed. Raises `Unavailable` if it cannot be read."""
        async with self._watcher.read_slots:
            state = await self._repository.read_state()
        if not state.is_recording:
            raise Unavailable(
                "The change feed is switched off in the database. `migrate` switches it on."
            )
        if not state.is_at_home:
            raise Unavailable(
                "The change feed comes from another database. The worker will start it again."
            )
        return state


class ChangeSweeper:
    """Keeps the change feed small and correct, as a scheduled job."""

    def __init__(self, session: Session, settings: Settings) -> None:
        """Create the sweeper. The settings say how long changes are kept."""
        self._repository = ChangeRepository(session)
        self._max_age = timedelta(seconds=settings.change_retention)

    async def sweep(self) -> str:
        """Delete old changes, or start the feed again after a dump was restored.

        Returns a summary for the log, for example "deleted 7 changes".
        """
        state = await self._repository.read_state()
        if state.is_at_home:
            return f"deleted {await self._repository.delete_old_changes(self._max_age)} changes"
        deleted_changes = await self._repository.start_epoch()
        return f"started the feed of another database again, deleted {deleted_changes} changes"


def _find_start(after: str | None, cursor_key: bytes, state: FeedState) -> Position:
    """Return the position from which to read. Raises `CursorExpired`."""
    if after is None:
        return Position(state.first_xid)
    if after == NOW:
        return Position(state.end_xid)
    position = open_cursor(after, cursor_key)
    if position is None:
        raise CursorExpired
    return position


def _to_model(row: Row) -> ChangeRead:
    """Return a row of the table `changes` as an item of a response."""
    return ChangeRead(
        entity=row["entity"],
        id=row["entity_id"],
        version=row["version"],
        kind=row["kind"],
        time=row["time"],
    )
