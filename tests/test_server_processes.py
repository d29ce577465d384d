"""The lifetime of the processes of a server that has several."""

import asyncio
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import psutil
import pytest
from httpx import AsyncClient

from app.cli.supervisor import KILL_TIMEOUT_SECONDS
from tests.support.metrics import find_free_port, request_counts, request_labels, scrape_metrics
from tests.support.processes import TIMEOUT_SECONDS, poll_until, running_server
from tests.support.shutdown import (
    MAX_SHUTDOWN_SECONDS,
    ConnectingClients,
    find_server_processes,
    wait_for_exit,
)

pytestmark = [pytest.mark.slow, pytest.mark.private_database]


@asynccontextmanager
async def running_two_processes(
    database_url: str, **environment: str
) -> AsyncIterator[tuple[Process, str, list[psutil.Process]]]:
    """Start a server of two processes. Yield the supervisor, the origin and the processes."""
    async with (
        running_server(
            DATABASE_URL=database_url,
            WEB_CONCURRENCY="2",
            DB_POOL_SIZE="4",
            DB_POOL_TIMEOUT="20",
            # A test does not read the log of the processes, so its lines must not fill the pipe.
            LOG_LEVEL="WARNING",
            **environment,
        ) as (supervisor, origin),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        assert (await client.get("/livez")).status_code == 200
        yield supervisor, origin, find_server_processes(supervisor)


def _memory_of(process: psutil.Process) -> str:
    """Return the name and the labels of the memory of a process in the metrics."""
    return f'process_resident_memory_bytes{{pid="{process.pid}"}}'


async def end_and_wait_until_replaced(
    process: psutil.Process, signal_number: int, supervisor: Process
) -> None:
    """Send a signal that ends a process, and wait until the supervisor has started another one."""
    main_process = psutil.Process(supervisor.pid)
    process_count = len(main_process.children())
    process.send_signal(signal_number)

    async def is_replaced() -> bool:
        # `find_server_processes` reads the connections of the whole machine, which may take longer
        # than a server that stops waits for the requests of the other clients of this event loop.
        children = main_process.children()
        return len(children) == process_count and process not in children

    await poll_until(is_replaced)


async def test_process_that_dies_is_replaced_and_its_gauges_are_not_added_up(
    private_database_url: str,
) -> None:
    port = find_free_port()
    async with running_two_processes(private_database_url, METRICS_PORT=port) as (
        supervisor,
        origin,
        processes,
    ):
        async with AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client:
            assert (await client.get("/authors")).status_code == 200
        samples_before = await scrape_metrics(port)
        killed_process, living_process = processes
        await end_and_wait_until_replaced(killed_process, signal.SIGKILL, supervisor)
        async with AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client:
            assert (await client.get("/readyz")).status_code == 200

        async def has_new_process() -> bool:
            # Each process may have half of the four connections.
            return (await scrape_metrics(port))['db_pool_size{database="default"}'] == 4

        await poll_until(has_new_process)
        samples = await scrape_metrics(port)
    assert samples_before["server_processes_replaced_total"] == 0
    assert samples["server_processes_replaced_total"] == 1
    # The counters of the killed process are kept.
    assert request_counts(samples)[request_labels("GET", "/authors", 200)] == 1
    assert samples_before[_memory_of(killed_process)] > 2**20
    assert _memory_of(killed_process) not in samples
    assert _memory_of(living_process) in samples


async def test_worker_that_dies_is_replaced(private_database_url: str) -> None:
    async with running_server(
        "--worker", DATABASE_URL=private_database_url, WEB_CONCURRENCY="2", LOG_LEVEL="WARNING"
    ) as (supervisor, _):
        children = set(psutil.Process(supervisor.pid).children())
        (worker,) = children - set(find_server_processes(supervisor))
        await end_and_wait_until_replaced(worker, signal.SIGKILL, supervisor)
        supervisor.send_signal(signal.SIGTERM)
        assert await wait_for_exit(supervisor) == 0


async def test_metrics_contain_what_the_worker_reads_from_the_database(
    private_database_url: str,
) -> None:
    port = find_free_port()
    async with running_server(
        "--worker",
        DATABASE_URL=private_database_url,
        WEB_CONCURRENCY="2",
        METRICS_PORT=port,
        LOG_LEVEL="WARNING",
    ):

        async def has_job_metrics() -> bool:
            samples = await scrape_metrics(port)
            return 'job_due_timestamp_seconds{job_name="sweep-tokens"}' in samples

        await poll_until(has_job_metrics)


async def test_processes_do_not_generate_the_same_ids(private_database_url: str) -> None:
    request_ids = []
    author_ids = []
    async with running_two_processes(private_database_url) as (_, origin, processes):
        for process in processes:
            # The other process responds to the requests meanwhile.
            process.suspend()
            async with AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client:
                for _ in range(3):
                    response = await client.post("/authors", json={"name": "Ada"})
                    request_ids.append(response.headers["x-request-id"])
                    author_ids.append(response.json()["id"])
            process.resume()
    assert len(set(request_ids)) == len(request_ids)
    # The last digits of an id are random. The first ones are the time.
    assert len({author_id[-12:] for author_id in author_ids}) == len(author_ids)


@pytest.mark.skipif(sys.platform != "linux", reason="processes share memory on Linux only")
async def test_additional_process_takes_at_most_45_mib(private_database_url: str) -> None:
    memory_by_process_count = {}
    for process_count in (1, 3):
        async with (
            running_server(
                DATABASE_URL=private_database_url,
                WEB_CONCURRENCY=str(process_count),
                LOG_LEVEL="WARNING",
                # With such a variable, the server is not a fork of a process of the tests.
                PYTHONDONTWRITEBYTECODE="1",
            ) as (server, origin),
            AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
        ):
            for _ in range(30):
                list_requests = (client.get("/books") for _ in range(10))
                create_requests = (client.post("/authors", json={"name": "Ada"}) for _ in range(10))
                await asyncio.gather(*list_requests, *create_requests)
            memory_by_process_count[process_count] = _measure_memory(server)
    additional_memory = memory_by_process_count[3] - memory_by_process_count[1]
    assert additional_memory / 2 <= 45, memory_by_process_count


def _measure_memory(server: Process) -> float:
    """Return the PSS of all processes of a server in MiB. Shared memory is counted once."""
    main_process = psutil.Process(server.pid)
    processes = [main_process, *main_process.children(recursive=True)]
    pss: int = sum(process.memory_full_info().pss for process in processes)
    return pss / 2**20


async def test_processes_end_when_their_supervisor_is_killed(private_database_url: str) -> None:
    async with running_two_processes(private_database_url) as (supervisor, _, processes):
        supervisor.kill()
        _, still_running = psutil.wait_procs(processes, timeout=MAX_SHUTDOWN_SECONDS)
        assert still_running == []


async def test_processes_share_the_connections_of_the_pool(
    private_database_url: str, outside_connection: asyncpg.Connection
) -> None:
    async with (
        running_two_processes(private_database_url) as (_, origin, _),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        for _ in range(5):
            await asyncio.gather(*(client.get("/authors") for _ in range(20)))
        connection_count = await outside_connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE application_name = 'bookshelf' AND datname = current_database()"
        )
        assert connection_count <= 4


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_signal_ends_all_processes(private_database_url: str, signal_number: int) -> None:
    async with running_two_processes(private_database_url) as (supervisor, _, processes):
        supervisor.send_signal(signal_number)
        assert await wait_for_exit(supervisor) == 0
        assert not any(process.is_running() for process in processes)
        assert supervisor.stdout
        output = (await supervisor.stdout.read()).decode()
        # No process has been restarted.
        assert "Bookshelf serves" not in output
        assert "Traceback" not in output


async def test_process_that_receives_sigterm_resets_no_connection_and_is_replaced(
    private_database_url: str,
) -> None:
    async with running_two_processes(private_database_url) as (supervisor, origin, processes):
        clients = ConnectingClients(origin)
        await clients.wait_until_busy()
        stopped_process, _ = processes
        await end_and_wait_until_replaced(stopped_process, signal.SIGTERM, supervisor)
        await clients.wait_until_busy()
        supervisor.send_signal(signal.SIGTERM)
        assert await clients.wait_until_refused() == []
        assert await wait_for_exit(supervisor) == 0


async def test_process_that_is_frozen_is_killed_at_shutdown(private_database_url: str) -> None:
    async with running_two_processes(private_database_url) as (supervisor, _, processes):
        frozen_process, _ = processes
        frozen_process.suspend()
        supervisor.send_signal(signal.SIGTERM)
        assert await wait_for_exit(supervisor) == 0
        assert not frozen_process.is_running()


async def test_second_interrupt_ends_all_processes_immediately(private_database_url: str) -> None:
    async with running_two_processes(private_database_url) as (supervisor, _, processes):
        for process in processes:
            process.suspend()

        supervisor.send_signal(signal.SIGINT)

        async def has_handled_signal() -> bool:
            sockets = psutil.Process(supervisor.pid).net_connections("tcp")
            return all(each.status != psutil.CONN_LISTEN for each in sockets)

        # Signals that arrive before the first one is handled count as one.
        await poll_until(has_handled_signal)
        supervisor.send_signal(signal.SIGINT)
        # Without the second signal, the supervisor would wait for the processes.
        async with asyncio.timeout(KILL_TIMEOUT_SECONDS):
            assert await supervisor.wait() == 0
        assert not any(process.is_running() for process in processes)
