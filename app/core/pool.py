"""The pool of a database's connections: who may wait for one, and which are as good as new."""

from time import time
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.util.concurrency import in_greenlet

from app.core.sqlstate import lost

# For each connection: some 10 ms of ordinary work, so that a burst is no overload.
WAITERS: Final = 8


class Pool(AsyncAdaptedQueuePool):
    """A pool for whose connections only so many wait; the next one is overload at once.

    One that has ended meanwhile is made again, and so is any that is older than the last that was
    lost: nothing has been sent on them.
    """

    __module__ = AsyncAdaptedQueuePool.__module__  # it logs as SQLAlchemy does
    _waiting = 0
    _trusted = 0.0  # from when on

    def distrust(self, _connection: object, _entry: object, error: BaseException | None) -> None:
        if error is not None and lost(error):
            self._trusted = time()

    def _do_get(self) -> ConnectionPoolEntry:
        entry = self._waited_for()
        driver: Any = entry.driver_connection
        made: float = entry.starttime  # type: ignore[attr-defined]
        if driver is not None and (driver.is_closed() or made < self._trusted):
            entry.invalidate(soft=True)  # as it is checked out
        return entry

    def _waited_for(self) -> ConnectionPoolEntry:
        if self.checkedin() or self.overflow() < 0:
            return super()._do_get()
        if self._waiting >= WAITERS * self.size():
            raise PoolTimeout("too many wait for a connection")
        self._waiting += 1
        try:
            return super()._do_get()
        finally:
            self._waiting -= 1


def watch(engine: Engine) -> None:
    """Have the pool hear of connections that are lost, and nobody connect who cannot wait."""
    pool = engine.pool
    assert isinstance(pool, Pool)  # noqa: S101 - all of ours are
    event.listen(engine, "invalidate", pool.distrust)
    event.listen(engine, "do_connect", _wait)


def _wait(*_: object) -> None:
    """To connect is to wait, which takes a greenlet: who has none is told so before it begins."""
    if not in_greenlet():
        raise MissingGreenlet
