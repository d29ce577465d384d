"""The metrics that Prometheus scrapes from one process, or from several together."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack

import asyncpg
import httpx
import psutil
import pytest
from httpx import AsyncClient

from app.core.observability import serve_metrics
from app.core.observability._metrics import DIRECTORY_VARIABLE
from app.worker import JOBS
from tests.support.database_proxy import running_database_proxy
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import make_document
from tests.support.metrics import find_free_port, scrape_metrics
from tests.support.problems import check_problem
from tests.support.processes import (
    TIMEOUT_SECONDS,
    exit_code_and_output,
    poll_until,
    running_server,
    running_workers,
)

CHECKED_OUT_CONNECTIONS = 'db_pool_checked_out{database="default"}'
POOL_SIZE = 'db_pool_size{database="default"}'
REPORTING_POOL_SIZE = 'db_pool_size{database="reporting"}'


def request_counts(samples: Mapping[str, float]) -> dict[str, float]:
    """Return the number of requests by their labels. See `request_labels` for a key."""
    name = "http_request_duration_seconds_count"
    return {
        sample.removeprefix(name): value
        for sample, value in samples.items()
        if sample.startswith(name)
    }


def request_labels(method: str, route: str, status: int) -> str:
    """Return the labels of a request, for example `{method="GET",route="/books",status="200"}`."""
    return f'{{method="{method}",route="{route}",status="{status}"}}'


async def test_requests_are_counted_by_route_and_never_by_path(private_database_url: str) -> None:
    port = find_free_port()
    environment = {
        "DATABASE_URL": private_database_url,
        "METRICS_PORT": port,
        "ANONYMOUS_ACCESS": "read",
    }
    async with running_server(**environment) as (_, origin), AsyncClient(base_url=origin) as client:
        for _ in range(3):
            await client.get(f"/books/{UNKNOWN_ID}")
        for path in ("/nope", "/nope/2", "/nope%0A", "/metrics"):
            check_problem(await client.get(path), 404, "not-found")
        await client.request("PURGE", "/books")
        await client.request("PROPFIND", "/books/")
        samples = await scrape_metrics(port)
    assert request_counts(samples) == {
        request_labels("GET", "/books/{id}", 404): 3,
        request_labels("GET", "unknown", 404): 4,
        request_labels("other", "/books", 405): 2,
    }
    bucket = "http_request_duration_seconds_bucket"
    assert samples[f'{bucket}{{le="+Inf",method="GET",route="/books/{{id}}",status="404"}}'] == 3
    assert samples["process_resident_memory_bytes"] > 2**20
    assert samples["http_requests_in_flight"] == 0


async def test_gauges_show_requests_in_progress_and_connections_in_use(
    private_database_url: str,
) -> None:
    port = find_free_port()
    environment = {
        "DATABASE_URL": private_database_url,
        "METRICS_PORT": port,
        "DB_POOL_SIZE": "8",
        "DB_STATEMENT_TIMEOUT": "60",
        "REQUEST_TIMEOUT": "90",
    }
    locker = await asyncpg.connect(private_database_url)
    async with running_server(**environment) as (_, origin), AsyncClient(base_url=origin) as client:

        async def is_waiting_for_lock() -> bool:
            return (await scrape_metrics(port))[CHECKED_OUT_CONNECTIONS] == 1

        async with locker.transaction():
            await locker.execute("LOCK TABLE authors")
            request = asyncio.create_task(client.get("/authors"))
            await poll_until(is_waiting_for_lock)
            samples_during_request = await scrape_metrics(port)
        assert (await request).status_code == 200
        samples_after_request = await scrape_metrics(port)
    await locker.close()
    assert samples_during_request["http_requests_in_flight"] == 1
    assert samples_after_request["http_requests_in_flight"] == 0
    assert samples_after_request[CHECKED_OUT_CONNECTIONS] == 0
    assert samples_after_request[POOL_SIZE] == 8
    assert samples_after_request[REPORTING_POOL_SIZE] == 2


async def test_connection_that_cannot_be_replaced_is_not_counted_as_in_use(
    private_database_url: str,
) -> None:
    port = find_free_port()
    async with AsyncExitStack() as network:
        proxy = await network.enter_async_context(running_database_proxy(private_database_url))
        async with (
            running_server(DATABASE_URL=proxy.url, METRICS_PORT=port) as (_, origin),
            AsyncClient(base_url=origin) as client,
        ):
            assert (await client.get("/authors")).status_code == 200
            # Stop the proxy, so that the database cannot be reached any more.
            await network.aclose()
            for _ in range(3):
                check_problem(await client.get("/authors"), 503, "unavailable")
            assert (await scrape_metrics(port))[CHECKED_OUT_CONNECTIONS] == 0


async def test_uploaded_bytes_are_counted(private_database_url: str) -> None:
    port = find_free_port()
    async with (
        running_server(DATABASE_URL=private_database_url, METRICS_PORT=port) as (_, origin),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        # The first upload of a server loads the client of the object store, which may take long.
        await make_document(client, content=b"x" * 123_456)
        assert (await scrape_metrics(port))["upload_bytes_total"] == 123_456


async def test_worker_counts_the_runs_of_its_jobs(private_database_url: str) -> None:
    port = find_free_port()

    async def have_all_jobs_run() -> bool:
        # The metrics cannot be scraped before the worker has started.
        if "count-users" not in worker.output:
            return False
        samples = await scrape_metrics(port)
        for job in JOBS:
            if samples.get(f'job_runs_total{{job_name="{job.name}",outcome="done"}}') != 1:
                return False
            # An alert needs the number before the first failure.
            assert samples[f'job_runs_total{{job_name="{job.name}",outcome="failed"}}'] == 0
        return True

    async with running_workers({"DATABASE_URL": private_database_url, "METRICS_PORT": port}) as [
        worker
    ]:
        await poll_until(have_all_jobs_run)


async def test_server_listens_on_no_other_port_without_metrics_port(
    private_database_url: str,
) -> None:
    async with running_server(DATABASE_URL=private_database_url) as (process, _):
        connections = psutil.Process(process.pid).net_connections("inet")
    listeners = [each for each in connections if each.status == psutil.CONN_LISTEN]
    assert len(listeners) == 1


async def test_server_and_not_its_worker_serves_metrics(private_database_url: str) -> None:
    port = find_free_port()
    connection = await asyncpg.connect(private_database_url)

    async def have_all_jobs_run() -> bool:
        query = "SELECT count(*) = $1 FROM job_runs"
        return bool(await connection.fetchval(query, len(JOBS)))

    async with running_server("--worker", DATABASE_URL=private_database_url, METRICS_PORT=port) as (
        _,
        origin,
    ):
        httpx.get(f"{origin}/livez").raise_for_status()
        await poll_until(have_all_jobs_run)
        samples = await scrape_metrics(port)
    assert request_counts(samples) == {request_labels("GET", "/livez", 200): 1}
    await connection.close()


@pytest.mark.parametrize("command", ["serve", "worker"])
async def test_command_fails_with_a_message_when_the_metrics_port_is_in_use(
    private_database_url: str, command: str
) -> None:
    port = find_free_port()
    with serve_metrics("127.0.0.1", int(port)):
        exit_code, output = await exit_code_and_output(
            command, METRICS_PORT=port, DATABASE_URL=private_database_url
        )
    assert exit_code == 1
    address = f"127.0.0.1:{port} (Address already in use)"
    assert output == f"bookshelf: cannot serve metrics on {address}: set METRICS_PORT\n"


async def test_metrics_of_several_processes_are_added_up_without_gauges_of_dead_ones(
    private_database_url: str,
) -> None:
    port = find_free_port()
    with serve_metrics("127.0.0.1", int(port), process_count=2):
        environment = {
            "DATABASE_URL": private_database_url,
            "DB_POOL_SIZE": "8",
            DIRECTORY_VARIABLE: os.environ[DIRECTORY_VARIABLE],
        }
        async with AsyncExitStack() as servers:
            processes = []
            for _ in range(2):
                # Processes record metrics only if they have a port of their own.
                server = running_server(**environment, METRICS_PORT=find_free_port())
                process, origin = await servers.enter_async_context(server)
                processes.append(process)
                httpx.get(f"{origin}/books").raise_for_status()
            samples_of_both = await scrape_metrics(port)
            killed_process, living_process = processes
            killed_process.kill()
            await killed_process.wait()
            samples_after_kill = await scrape_metrics(port)
    expected_counts = {request_labels("GET", "/books", 200): 2}
    assert request_counts(samples_of_both) == expected_counts
    assert request_counts(samples_after_kill) == expected_counts
    assert samples_of_both[POOL_SIZE] == 16
    assert samples_after_kill[POOL_SIZE] == 8
    memory_of_killed = f'process_resident_memory_bytes{{pid="{killed_process.pid}"}}'
    memory_of_living = f'process_resident_memory_bytes{{pid="{living_process.pid}"}}'
    assert {memory_of_killed, memory_of_living} <= samples_of_both.keys()
    assert memory_of_killed not in samples_after_kill
    assert memory_of_living in samples_after_kill
    assert DIRECTORY_VARIABLE not in os.environ
