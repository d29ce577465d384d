"""Measure how tables grow that are updated all the time, with and without revision 0017.

    python -m benchmarks.updates

Fills each table at the revisions 0016 and 0017, updates random rows of it one by one, each in its
own transaction, and prints a Markdown table. The share of HOT updates (heap-only tuples) are those
that add nothing to the indexes. Autovacuum is off, so that all space is counted that it would have
to reclaim.
"""

import asyncio
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
from alembic import command

from app import embedded, schema
from benchmarks.dataset import sqlalchemy_url

REVISIONS: Final = ("0016", "0017")
UPDATES: Final = 100_000
CONNECTIONS: Final = 4
_ID: Final = "('01890000-0000-7000-8000-' || lpad({}::text, 12, '0'))::uuid"
_ID_OF_ROW: Final = _ID.format("n")
_ID_OF_UPDATE: Final = _ID.format("$1::int")


@dataclass(frozen=True)
class Workload:
    """Updates of the rows of one table.

    Args:
        table: The name of the table.
        rows: The number of its rows.
        insert: Inserts the row with the number `n`. It is followed by a FROM clause.
        update: Updates the row with the number `$1` in the same way as the service does.
    """

    table: str
    rows: int
    insert: str
    update: str


WORKLOADS: Final = (
    Workload(
        "tokens",
        20_000,
        "INSERT INTO tokens (id, user_id, name, digest, expires_at, created_at)"
        f" SELECT {_ID_OF_ROW}, 1 + n % 1000, 'Firefox on Linux', sha256(int4send(n)),"
        " now() + interval '30 days', now() - n * interval '1 minute'",
        f"UPDATE tokens SET last_used_at = now() WHERE id = {_ID_OF_UPDATE}",
    ),
    Workload(
        "attempt_counters",
        20_000,
        "INSERT INTO attempt_counters (kind, digest, attempted_at, empty_at)"
        " SELECT 'account', sha256(int4send(n)), now(), now() + interval '10 minutes'",
        "UPDATE attempt_counters SET attempted_at = now(),"
        " empty_at = greatest(empty_at, now()) + interval '10 minutes'"
        " WHERE kind = 'account' AND digest = sha256(int4send($1::int))",
    ),
    Workload(
        "document_usage",
        1000,
        "INSERT INTO document_usage (owner_id, documents, bytes) SELECT n, 1, 1000",
        "UPDATE document_usage SET documents = documents + 1, bytes = bytes + 1000"
        " WHERE owner_id = $1::int",
    ),
    Workload(
        "stored_objects",
        20_000,
        f"INSERT INTO stored_objects (id, key) SELECT {_ID_OF_ROW}, 'documents/' || {_ID_OF_ROW}",
        f"UPDATE stored_objects SET touched_at = now() WHERE id = {_ID_OF_UPDATE}",
    ),
    Workload(
        "job_runs",
        5,
        "INSERT INTO job_runs (name, tick, finished_at, outcome)"
        " SELECT 'job ' || n, now(), now(), 'deleted 0 expired idempotency keys'",
        "UPDATE job_runs SET tick = now(), finished_at = clock_timestamp()"
        " WHERE name = 'job ' || $1::int",
    ),
)
_INSERT_USERS: Final = """
INSERT INTO users (name, email, password_hash)
SELECT 'User ' || n, n || '@example.com', 'x' FROM generate_series(1, 1000) n
"""
_READ_SIZES: Final = """
SELECT pg_table_size($1::text::regclass) / 1024 AS table_kib,
    pg_indexes_size($1::text::regclass) / 1024 AS indexes_kib
"""
_READ_UPDATES: Final = """
SELECT n_tup_upd AS updates, n_tup_hot_upd AS hot_updates
FROM pg_stat_user_tables WHERE relname = $1
"""
_HEADER: Final = (
    "| table | rows | revision | HOT updates | KiB of table | KiB of indexes |\n"
    "| --- | ---: | --- | ---: | ---: | ---: |"
)


async def measure_workload(url: str, workload: Workload, revision: str) -> str:
    """Fill and update one table, and return a row of the Markdown table."""
    connection = await asyncpg.connect(url)
    await connection.execute(f"{workload.insert} FROM generate_series(1, {workload.rows}) n")
    await connection.execute(f"VACUUM ANALYZE {workload.table}")
    [before] = await connection.fetch(_READ_SIZES, workload.table)
    generator = random.Random(17)
    numbers = [generator.randint(1, workload.rows) for _ in range(UPDATES)]
    await asyncio.gather(
        *(
            update_rows(url, workload.update, numbers[first::CONNECTIONS])
            for first in range(CONNECTIONS)
        )
    )
    # The connections have reported their statistics, because they are closed.
    [statistics] = await connection.fetch(_READ_UPDATES, workload.table)
    [after] = await connection.fetch(_READ_SIZES, workload.table)
    await connection.close()
    hot_percent = 100 * statistics["hot_updates"] / statistics["updates"]
    return (
        f"| `{workload.table}` | {workload.rows:,} | {revision} | {hot_percent:.1f} %"
        f" | {before['table_kib']:,} to {after['table_kib']:,}"
        f" | {before['indexes_kib']:,} to {after['indexes_kib']:,} |"
    )


async def update_rows(url: str, update: str, numbers: Sequence[int]) -> None:
    """Update the rows with these numbers, each in its own transaction."""
    connection = await asyncpg.connect(url)
    statement = await connection.prepare(update)
    for number in numbers:
        await statement.fetch(number)
    await connection.close()


async def insert_users(url: str) -> None:
    """Insert the users who own the other rows."""
    connection = await asyncpg.connect(url)
    await connection.execute(_INSERT_USERS)
    await connection.close()


def measure_revision(directory: Path, revision: str) -> list[str]:
    """Measure all workloads in a new database of one revision. Return rows of the table."""
    with embedded.run_postgres(directory, {"autovacuum": "off"}) as server:
        command.upgrade(schema.alembic_config(sqlalchemy_url(server.url())), revision)
        asyncio.run(insert_users(server.url()))
        return [
            asyncio.run(measure_workload(server.url(), workload, revision))
            for workload in WORKLOADS
        ]


def main() -> None:
    """Measure each revision, and print the table."""
    rows = []
    for revision in REVISIONS:
        with tempfile.TemporaryDirectory(prefix="bookshelf-updates-") as directory:
            rows.append(measure_revision(Path(directory), revision))
    print(_HEADER)
    for rows_of_workload in zip(*rows, strict=True):
        print("\n".join(rows_of_workload))


if __name__ == "__main__":
    main()
