"""The drill without Patroni: this program does what an operator does."""

import asyncio
import signal
from pathlib import Path
from time import monotonic
from typing import Final

from pydantic import SecretStr

from app import schema
from app.database_url import to_sqlalchemy_url
from drills.load import Load
from drills.postgres_nodes import DATABASE, PostgresNode
from drills.processes import find_free_port
from drills.reporting import CATALOG_PATH, REPORT_PATH, Drill
from drills.service_servers import running_service_servers

# The time in which the load runs before and after each event.
LOAD_SECONDS: Final = 3.0
# The time until an operator, or a program, has decided that the primary is gone.
DETECTION_SECONDS: Final = 1.0


async def run_plain_drill(directory: Path) -> list[str]:
    """Run all scenarios. Return the requirements that are not met."""
    nodes = [PostgresNode(name, directory, find_free_port()) for name in ("first", "second")]
    primary, standby = nodes
    try:
        await asyncio.to_thread(_start_nodes, primary, standby)
        await primary.wait_for_standby(required=True)
        # Without a required role, the standby serves reads while there is no primary.
        database_url = f"postgresql://postgres@{primary.address},{standby.address}/{DATABASE}"
        reporting_url = f"{database_url}?target_session_attrs=prefer-standby"
        with running_service_servers(directory, database_url, reporting_url) as origins:
            async with Load(origins) as load:
                drill = Drill(load)
                await _run_scenarios(drill, primary, standby)
                return drill.failures
    finally:
        for node in nodes:
            node.kill()


def _start_nodes(primary: PostgresNode, standby: PostgresNode) -> None:
    """Start a primary with a migrated database, and a standby."""
    primary.initialize()
    primary.start()
    asyncio.run(primary.execute("CREATE DATABASE bookshelf"))
    schema.upgrade(to_sqlalchemy_url(SecretStr(primary.url())))
    standby.copy_from(primary)
    standby.start()


async def _run_scenarios(drill: Drill, first: PostgresNode, second: PostgresNode) -> None:
    """Run the scenarios one after the other. At the end, compare the writes with the database."""
    start = monotonic()
    await asyncio.sleep(LOAD_SECONDS)
    await _fail_over(drill, first, second)
    await _rejoin(drill, first, second)
    await _switch_over(drill, second, first)
    await _lose_standby(drill, second)
    await _split_brain(drill, first, second)
    await _rejoin(drill, first, second)
    print("the end of the drill")
    await drill.load.finish()
    for path in (CATALOG_PATH, REPORT_PATH):
        number_of_reads = len(drill.load.read_times.get(path, []))
        drill.report(f"{number_of_reads} reads of {path.partition('?')[0]}")
    drill.report_reads_since(start)
    await drill.check_writes(second.url())


async def _fail_over(drill: Drill, primary: PostgresNode, standby: PostgresNode) -> None:
    print("the primary is killed, and the standby is promoted")
    start = monotonic()
    await asyncio.to_thread(primary.kill)
    await asyncio.sleep(DETECTION_SECONDS)
    await standby.promote()
    promoted = monotonic()
    await asyncio.sleep(LOAD_SECONDS)
    drill.require_writes_since("the promotion", promoted)
    drill.require_reads_since(start)


async def _rejoin(drill: Drill, former_primary: PostgresNode, primary: PostgresNode) -> None:
    print("the former primary becomes a standby")
    start = monotonic()
    # pg_rewind recovers the former primary first.
    await asyncio.to_thread(former_primary.rewind_to, primary)
    await asyncio.to_thread(former_primary.start)
    await primary.wait_for_standby(required=True)
    drill.report(f"rewound and started after {monotonic() - start:.1f} s")
    await asyncio.sleep(LOAD_SECONDS)
    drill.require_reads_since(start)


async def _switch_over(drill: Drill, primary: PostgresNode, standby: PostgresNode) -> None:
    print("a planned switchover: the primary stops, the standby is promoted, and both go on")
    start = monotonic()
    await asyncio.to_thread(primary.stop)
    await standby.promote()
    promoted = monotonic()
    await asyncio.to_thread(primary.rewind_to, standby)
    await asyncio.to_thread(primary.start)
    await standby.wait_for_standby(required=True)
    await asyncio.sleep(LOAD_SECONDS)
    drill.require_writes_since("the promotion", promoted)
    last_write = max(t for t in drill.load.acknowledged.values() if t < promoted)
    pause = promoted - last_write + (drill.load.first_write_after(promoted) or 0)
    drill.report(f"time without writes: {pause:.2f} s")
    drill.require_reads_since(start)


async def _lose_standby(drill: Drill, standby: PostgresNode) -> None:
    print("the standby is killed: commits wait, reads continue")
    await asyncio.to_thread(standby.kill)
    # Commits that the standby has confirmed are still being acknowledged.
    await asyncio.sleep(0.5)
    start = monotonic()
    await asyncio.sleep(LOAD_SECONDS)
    number = drill.load.writes_between(start, monotonic())
    drill.require(number == 0, f"{number} writes acknowledged without a standby")
    await asyncio.to_thread(standby.start)
    started = monotonic()
    await asyncio.sleep(LOAD_SECONDS)
    drill.require_writes_since("the start of the standby", started)
    drill.require_reads_since(start)


async def _split_brain(drill: Drill, primary: PostgresNode, standby: PostgresNode) -> None:
    # Connections to the frozen server stay open, so that reads on them have to time out first.
    print("the primary is frozen, the standby is promoted, and the former primary continues")
    start = monotonic()
    primary.freeze()
    await asyncio.sleep(DETECTION_SECONDS)
    await standby.promote()
    promoted = monotonic()
    await asyncio.sleep(LOAD_SECONDS)
    primary.resume()
    await asyncio.sleep(2 * LOAD_SECONDS)
    # Until now, the former primary has accepted connections, but its commits wait for a standby.
    await asyncio.to_thread(primary.stop, signal.SIGQUIT)
    fenced = monotonic()
    await asyncio.sleep(LOAD_SECONDS)
    seconds = drill.load.first_write_after(promoted)
    drill.report(f"first write after the promotion: {seconds} s")
    drill.require_writes_since("fencing the former primary", fenced)
    drill.report_reads_since(start)
