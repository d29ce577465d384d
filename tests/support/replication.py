"""A primary Postgres server and a standby that replicates it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import asyncpg

from app import embedded, schema
from app.embedded.postgresql import Postgres
from tests.support import servers
from tests.support.directories import server_directory
from tests.support.processes import TIMEOUT_SECONDS

# Commits are synchronous, so that `pg_current_wal_lsn` includes every commit that has returned.
SETTINGS = {**servers.SETTINGS_WITHOUT_DURABILITY, "synchronous_commit": "on"}
DATABASE = "bookshelf_test"


@dataclass(frozen=True)
class PrimaryAndStandby:
    """Both servers, and the URLs of the migrated database on each."""

    primary: Postgres
    standby: Postgres

    @property
    def primary_url(self) -> str:
        return self.primary.url(DATABASE)

    @property
    def standby_url(self) -> str:
        return self.standby.url(DATABASE)

    async def wait_until_caught_up(self) -> None:
        """Return when the standby has replayed everything that is committed on the primary."""
        primary = await asyncpg.connect(self.primary_url)
        standby = await asyncpg.connect(self.standby_url)
        try:
            primary_position = await primary.fetchval("SELECT pg_current_wal_lsn()::text")
            has_replayed = "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::text::pg_lsn, false)"
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while not await standby.fetchval(has_replayed, primary_position):
                    pass
        finally:
            await primary.close()
            await standby.close()


@contextmanager
def running_primary_and_standby() -> Iterator[PrimaryAndStandby]:
    """Run both servers with a migrated database, until the block ends."""
    with (
        server_directory() as data_directory,
        embedded.run_postgres(data_directory / "primary", SETTINGS) as primary,
    ):
        asyncio.run(servers.recreate_database(primary.url(DATABASE)))
        schema.upgrade(servers.sqlalchemy_url(primary.url(DATABASE)))
        _copy_to_standby(primary, Postgres(data_directory / "standby", SETTINGS))
        with embedded.run_postgres(data_directory / "standby", SETTINGS) as standby:
            yield PrimaryAndStandby(primary, standby)


def _copy_to_standby(primary: Postgres, standby: Postgres) -> None:
    """Copy the data of the primary to the standby, and configure the standby to follow it."""
    standby._create_directories()
    standby._run_program(
        "pg_basebackup",
        "--host",
        str(primary.socket_dir),
        "--username=postgres",
        "--checkpoint=fast",
        "--pgdata",
        str(standby.cluster_dir),
        "--wal-method=stream",
        "--write-recovery-conf",
        "--no-sync",
    )
