"""The metrics that Prometheus scrapes from a server, and the port on which it does so."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import asyncpg
import httpx
import psutil
import pytest
from httpx import AsyncClient

from app.core.observability import serve_metrics, serve_shared_metrics
from app.worker import JOBS
from tests.support import servers
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import make_document
from tests.support.metrics import find_free_port, request_counts, request_labels, scrape_metrics
from tests.support.problems import check_problem
from tests.support.processes import (
    TIMEOUT_SECONDS,
    exit_code_and_output,
    poll_until,
    running_server,
)

CHECKED_OUT_CONNECTIONS = 'db_pool_checked_out{database="default"}'
POOL_SIZE = 'db_pool_size{database="default"}'
REPORTING_POOL_SIZE = 'db_pool_size{database="reporting"}'


class MeteredServer(NamedTuple):
    """A server process that exports metrics, and a client of it."""

    client: AsyncClient
    database_url: str
    metrics_port: str


@pytest.fixture(scope="module")
async def server(template_url: str) -> AsyncIterator[MeteredServer]:
    """A server that the tests of this module share."""
    metrics_port = find_free_port()
    environment = {
        "METRICS_PORT": metrics_port,
        "DB_POOL_SIZE": "8",
        "DB_STATEMENT_TIMEOUT": "60",
        "REQUEST_TIMEOUT": "90",
    }
    async with (
        servers.open_copy(template_url) as url,
        running_server(DATABASE_URL=url, **environment) as (_, origin),
        # The first upload of a server loads the client of the object store, which may take long.
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        yield MeteredServer(client, url, metrics_port)


async def test_requests_are_counted_by_route_and_never_by_path(server: MeteredServer) -> None:
    client = server.client
    for _ in range(3):
        await client.get(f"/books/{UNKNOWN_ID}")
    for path in ("/nope", "/nope/2", "/nope%0A", "/metrics"):
        check_problem(await client.get(path), 404, "not-found")
    await client.request("PURGE", "/books")
    await client.request("PROPFIND", "/books/")
    samples = await scrape_metrics(server.metrics_port)
    # Other tests use the same server for other routes.
    counts = request_counts(samples)
    assert counts[request_labels("GET", "/books/{id}", 404)] == 3
    assert counts[request_labels("GET", "unknown", 404)] == 4
    assert counts[request_labels("other", "/books", 405)] == 2
    assert not any("nope" in labels or "PURGE" in labels for labels in counts)
    bucket = "http_request_duration_seconds_bucket"
    assert samples[f'{bucket}{{le="+Inf",method="GET",route="/books/{{id}}",status="404"}}'] == 3
    assert samples["process_resident_memory_bytes"] > 2**20
    assert samples["http_requests_in_flight"] == 0


async def test_gauges_show_requests_in_progress_and_connections_in_use(
    server: MeteredServer,
) -> None:
    async def is_waiting_for_lock() -> bool:
        return (await scrape_metrics(server.metrics_port))[CHECKED_OUT_CONNECTIONS] == 1

    locker = await asyncpg.connect(server.database_url)
    async with locker.transaction():
        await locker.execute("LOCK TABLE authors")
        request = asyncio.create_task(server.client.get("/authors"))
        await poll_until(is_waiting_for_lock)
        samples_during_request = await scrape_metrics(server.metrics_port)
    assert (await request).status_code == 200
    samples_after_request = await scrape_metrics(server.metrics_port)
    await locker.close()
    assert samples_during_request["http_requests_in_flight"] == 1
    assert samples_after_request["http_requests_in_flight"] == 0
    assert samples_after_request[CHECKED_OUT_CONNECTIONS] == 0
    assert samples_after_request[POOL_SIZE] == 8
    assert samples_after_request[REPORTING_POOL_SIZE] == 2


async def test_uploaded_bytes_are_counted(server: MeteredServer) -> None:
    await make_document(server.client, content=b"x" * 123_456)
    samples = await scrape_metrics(server.metrics_port)
    assert samples["upload_bytes_total"] == 123_456
    assert samples["uploads_in_flight"] == 0


async def test_empty_file_of_a_killed_process_does_not_prevent_a_scrape(tmp_path: Path) -> None:
    port = find_free_port()
    (tmp_path / f"counter_{os.getpid()}.db").touch()
    with serve_shared_metrics("127.0.0.1", int(port), tmp_path):
        assert await scrape_metrics(port)


def test_no_port_is_opened_without_metrics_port() -> None:
    def listening_ports() -> set[int]:
        connections = psutil.Process().net_connections("inet")
        return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}

    ports_before = listening_ports()
    with serve_metrics("127.0.0.1", 0):
        assert listening_ports() == ports_before


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


async def test_command_fails_with_a_message_when_the_metrics_port_is_in_use(
    template_url: str,
) -> None:
    port = find_free_port()
    with serve_metrics("127.0.0.1", int(port)):
        exit_code, output = await exit_code_and_output(
            "serve", METRICS_PORT=port, DATABASE_URL=template_url
        )
    assert exit_code == 1
    address = f"127.0.0.1:{port} (Address already in use)"
    assert output == f"bookshelf: cannot serve metrics on {address}: set METRICS_PORT\n"
