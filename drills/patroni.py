"""The drill with Patroni, which promotes the standby and lets the former primary follow it."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Final

import asyncpg
from pydantic import SecretStr

from app import schema
from app.database_url import to_sqlalchemy_url
from drills.load import Load
from drills.patroni_nodes import LEADER_TTL, PatroniNode, running_database_balancer, running_etcd
from drills.postgres_nodes import DATABASE, HOST
from drills.reporting import Drill
from drills.service_servers import running_service_servers

# The time in which the load runs before and after each event.
LOAD_SECONDS: Final = 3.0


async def run_patroni_drill(directory: Path) -> list[str]:
    """Run all scenarios. Return the requirements that are not met."""
    with ExitStack() as stack:
        etcd_port = stack.enter_context(running_etcd(directory))
        nodes = [PatroniNode(name, directory, etcd_port) for name in ("first", "second")]
        for node in nodes:
            node.start()
            stack.callback(node.kill)
            role = "primary" if node is nodes[0] else "synchronous"
            await asyncio.to_thread(node.wait_for_role, role)
        primary_port, standby_port = stack.enter_context(
            running_database_balancer(directory, nodes)
        )
        # Without a required role, the standby serves reads while there is no primary.
        database_url = (
            f"postgresql://postgres@{HOST}:{primary_port},{HOST}:{standby_port}/{DATABASE}"
        )
        await _create_database(nodes[0])
        await asyncio.to_thread(schema.upgrade, to_sqlalchemy_url(SecretStr(database_url)))
        reporting_url = (
            f"postgresql://postgres@{HOST}:{standby_port},{HOST}:{primary_port}/{DATABASE}"
        )
        origins = stack.enter_context(
            running_service_servers(directory, database_url, reporting_url)
        )
        async with Load(origins) as load:
            drill = Drill(load)
            await _run_scenarios(drill, *nodes)
            await load.finish()
            await drill.check_writes(database_url)
            return drill.failures


async def _create_database(primary: PatroniNode) -> None:
    connection = await asyncpg.connect(f"postgresql://postgres@{HOST}:{primary.port}/postgres")
    await connection.execute(f"CREATE DATABASE {DATABASE}")
    await connection.close()


async def _run_scenarios(drill: Drill, first: PatroniNode, second: PatroniNode) -> None:
    """Run the scenarios one after the other."""
    await asyncio.sleep(LOAD_SECONDS)

    print("the machine of the primary fails, and Patroni promotes the standby")
    start = monotonic()
    await asyncio.to_thread(first.kill)
    await _wait_for_new_primary(drill, second, start)

    print("the machine comes back, and Patroni lets the former primary follow")
    start = monotonic()
    first.start()
    await asyncio.to_thread(first.wait_for_role, "synchronous")
    drill.report(f"synchronous standby after {monotonic() - start:.1f} s")
    await asyncio.sleep(LOAD_SECONDS)

    print("a planned switchover")
    start = monotonic()
    await asyncio.to_thread(second.switch_over_to, first)
    await _wait_for_new_primary(drill, first, start)
    await asyncio.to_thread(second.wait_for_role, "synchronous")
    await asyncio.sleep(LOAD_SECONDS)

    print("the primary is frozen until the standby is promoted, and then continues")
    start = monotonic()
    first.freeze()
    # Connections to the frozen server stay open, so that reads on them have to time out first.
    await _wait_for_new_primary(drill, second, start, may_stop_reads=True)
    first.resume()
    await asyncio.to_thread(first.wait_for_role, "synchronous")
    drill.report(f"synchronous standby after {monotonic() - start:.1f} s")
    await asyncio.sleep(LOAD_SECONDS)
    drill.report_reads_since(start)


async def _wait_for_new_primary(
    drill: Drill, node: PatroniNode, start: float, *, may_stop_reads: bool = False
) -> None:
    """Wait until Patroni has promoted a server, and require that writes and reads succeed."""
    await asyncio.to_thread(node.wait_for_role, "primary")
    promoted = monotonic()
    drill.report(f"promoted after {promoted - start:.1f} s (the key expires after {LEADER_TTL} s)")
    await asyncio.sleep(LOAD_SECONDS)
    drill.require_writes_since("the promotion", promoted)
    if may_stop_reads:
        drill.report_reads_since(start)
    else:
        drill.require_reads_since(start)
