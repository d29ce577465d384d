"""Runs the revisions of an Alembic command, and repeats one that could not lock a table in time.

A failed revision is rolled back and runs again from its start, so that it holds no lock while it
waits for the next attempt. Every revision has to be repeatable.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.schema import SchemaIsNewer
from migrations.lock_waits import UNKNOWN_BLOCKER, LockMonitor
from migrations.sessions import LOCK_TIMEOUT

# The lock was not available within lock_timeout, or the transaction was chosen to end a deadlock.
REPEATABLE_SQLSTATES: Final = {"55P03", "40P01"}
FIRST_DELAY_SECONDS: Final = 0.5
MAX_DELAY_SECONDS: Final = 10.0
# Alembic calls this function with the current revisions of the database, to list what to do.
ListSteps = Callable[[Sequence[str], MigrationContext], Sequence[MigrationStep]]
log = logging.getLogger("migrations")


class PendingSteps:
    """The steps of an Alembic command, such as upgrades to 0011 and 0012, without committed ones.

    The steps are listed only at the first attempt. The target of a command can be relative, as in
    `downgrade -2`, so that a list that is made after the first step would go too far.
    """

    def __init__(self, list_steps: ListSteps) -> None:
        self._list_steps = list_steps
        self._steps: list[MigrationStep] | None = None
        # The revision that a message names, for example "0011".
        self.current_revision = ""

    def __call__(self, heads: Sequence[str], context: MigrationContext) -> Iterator[MigrationStep]:
        """Yield the steps that are not yet committed."""
        require_known_revisions(heads, context.opts["script"])
        if self._steps is None:
            self._steps = list(self._list_steps(heads, context))
        while self._steps:
            step = self._steps[0]
            self.current_revision = ", ".join(
                step.to_revisions_no_deps if step.is_upgrade else step.from_revisions_no_deps
            )
            yield step
            # Alembic asks for the next step after it has committed this one.
            del self._steps[0]


def require_known_revisions(heads: Sequence[str], script: ScriptDirectory) -> None:
    """Raise `SchemaIsNewer` if the database is at a revision that this code does not have."""
    known_revisions = {revision.revision for revision in script.walk_revisions()}
    for head in heads:
        if head not in known_revisions:
            raise SchemaIsNewer(head)


async def run_with_retries(
    connection: AsyncConnection,
    run_revisions: Callable[[Connection], None],
    steps: PendingSteps,
    monitor: LockMonitor,
    timeout_seconds: float,
) -> None:
    """Call `run_revisions` until no revision waits too long for a lock.

    Raises `CommandError` if a revision did not get its locks within `timeout_seconds`.
    """
    now = asyncio.get_running_loop().time
    revision = None
    deadline = 0.0
    attempts = 0
    while True:
        monitor.last_wait = UNKNOWN_BLOCKER
        try:
            await connection.run_sync(run_revisions)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in REPEATABLE_SQLSTATES:
                raise
            if steps.current_revision != revision:
                revision = steps.current_revision
                deadline = now() + timeout_seconds
                attempts = 0
            delay = choose_delay(attempts)
            attempts += 1
            reason = f"revision {revision} waits for {monitor.last_wait}"
            if now() + delay > deadline:
                raise CommandError(describe_timeout(reason, timeout_seconds)) from error
            log.warning("Attempt %d: %s; trying again in %.1f s", attempts, reason, delay)
        else:
            return
        await asyncio.sleep(delay)


def choose_delay(attempts: int) -> float:
    """Return the seconds until the next attempt. They double, and are chosen at random.

    Without randomness, a job that runs every few seconds could block every attempt.
    """
    delay = min(MAX_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2**attempts)
    return random.uniform(delay / 2, delay)  # noqa: S311 - not for cryptography


def describe_timeout(reason: str, timeout_seconds: float) -> str:
    """Return the message for an upgrade that ends because a table could not be locked."""
    return (
        f"{reason}. All attempts in {timeout_seconds:g} seconds (MIGRATION_LOCK_TIMEOUT) failed, each"
        f" of which waited for at most {LOCK_TIMEOUT}, so that requests do not fail. The revisions"
        " before this one are kept. End the blocking session, for example with"
        " pg_terminate_backend, or wait for its end, and upgrade again"
    )
