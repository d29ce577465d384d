"""Executes statements in batches of rows, whose size adapts to the database."""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final, NamedTuple

import sqlalchemy as sa

from app.core.db._sessions import Parameters, Row, Session
from app.core.db._sqlstate import is_timeout
from app.core.errors import Overloaded

BATCH_SIZE: Final = 1000
# A batch that takes longer halves the size of the next ones. It is well below the smallest sensible
# `statement_timeout`.
SLOW_BATCH_SECONDS: Final = 1.0

log = logging.getLogger(__name__)


class ExecutedBatch(NamedTuple):
    """The row that the statement of a batch has returned, and the maximum number of its rows."""

    row: Row
    size: int


class BatchExecutor:
    """Executes statements for batches of rows of one table, and chooses the size of the batches.

    A slow batch halves the size of the next ones. A batch that times out is repeated with half of
    its rows. If a batch of one row times out, the error is raised.
    """

    def __init__(self, session: Session, table: sa.Table, batch_size: int) -> None:
        """Create an executor. The first batches have `batch_size` rows."""
        self._session = session
        self._table = table
        self._batch_size = batch_size

    async def execute(
        self, build_statement: Callable[[int], sa.Executable], parameters: Parameters | None = None
    ) -> ExecutedBatch:
        """Execute the statement of one batch, which returns one row.

        Args:
            build_statement: Builds the statement for a maximum number of rows.
            parameters: The parameters of the statement.
        """
        while True:
            size = self._batch_size
            started_at = monotonic()
            try:
                # Without a savepoint, a timeout would abort the transaction of the session.
                async with self._session.savepoint():
                    [row] = await self._session.execute(build_statement(size), parameters)
            except Overloaded as error:
                if size == 1 or not is_timeout(error):
                    raise
                self._halve_batch_size()
                continue
            if monotonic() - started_at > SLOW_BATCH_SECONDS:
                self._halve_batch_size()
            return ExecutedBatch(row, size)

    def _halve_batch_size(self) -> None:
        """Halve the size of the next batches, but not below 1, and log it."""
        smaller_batch_size = max(1, self._batch_size // 2)
        log.info(
            "a batch of %d rows of %s was slow, so the next one has %d",
            self._batch_size,
            self._table.name,
            smaller_batch_size,
        )
        self._batch_size = smaller_batch_size
