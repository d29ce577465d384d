"""A primary and a standby that streams from it: two real servers of the embedded Postgres."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from app import embedded, schema
from app.embedded.postgresql import Postgres
from tests.support import servers
from tests.support.processes import TIMEOUT_SECONDS

# A commit that is not yet in the log has no place there that one could wait for.
SETTINGS = {**servers.SETTINGS_WITHOUT_DURABILITY, "synchronous_commit": "on"}
DATABASE = "bookshelf_test"


@dataclass(frozen=True)
class PrimaryAndStandby:
    """Both servers, and where the migrated database is on each."""

    primary: Postgres
    standby: Postgres

    @property
    def primary_url(self) -> str:
        return self.primary.url(DATABASE)

    @property
    def standby_url(self) -> str:
        return self.standby.url(DATABASE)

    async def wait_until_caught_up(self) -> None:
        """Return when all that is committed on the primary can be read on the standby."""
        primary = await asyncpg.connect(self.primary_url)
        standby = await asyncpg.connect(self.standby_url)
        try:
            written = await primary.fetchval("SELECT pg_current_wal_lsn()::text")
            replayed = "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)"
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while not await standby.fetchval(replayed, written):
                    pass
        finally:
            await primary.close()
            await standby.close()


@contextmanager
def running_primary_and_standby() -> Iterator[PrimaryAndStandby]:
    """The two servers, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="bookshelf-test-") as directory:
        Path(directory).chmod(0o755)  # for the user that the servers run as
        data = Path(directory).resolve()
        with embedded.postgres(data / "primary", SETTINGS) as primary:
            asyncio.run(servers.recreate_database(primary.url(DATABASE)))
            schema.upgrade(servers.sqlalchemy_url(primary.url(DATABASE)))
            _copy_to_standby(primary, Postgres(data / "standby", SETTINGS))
            with embedded.postgres(data / "standby", SETTINGS) as standby:
                yield PrimaryAndStandby(primary, standby)


def _copy_to_standby(primary: Postgres, standby: Postgres) -> None:
    """Give the standby the primary's data, and the settings that make it follow."""
    standby._own_directories()
    source = ("--host", str(primary.sockets), "--username=postgres", "--checkpoint=fast")
    target = ("--pgdata", str(standby.data), "--wal-method=stream", "--write-recovery-conf")
    standby._run("pg_basebackup", *source, *target, "--no-sync")
