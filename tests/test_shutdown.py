"""Graceful shutdown of a server: the requests in progress, and its end."""

import asyncio
import signal
from asyncio import StreamReader, StreamWriter
from pathlib import Path

import pytest
from httpx import AsyncClient

from tests.support.connections import tcp_connection, tcp_server
from tests.support.document_forms import END_OF_FORM, START_OF_FORM
from tests.support.metrics import find_free_port, scrape_metrics
from tests.support.postgres_server import frozen_postgres, running_postgres
from tests.support.problems import check_problem
from tests.support.processes import TIMEOUT_SECONDS, poll_until, running_server
from tests.support.raw_requests import open_request, upload_head
from tests.support.shutdown import wait_for_exit

pytestmark = [pytest.mark.slow, pytest.mark.private_database]

PROCESS_COUNTS = pytest.mark.parametrize("process_count", ["1", "2"])


class PersistentClient:
    """A client that sends requests on one connection until the server closes it.

    `has_lost_request` is set if the last request gets no response.
    """

    def __init__(self) -> None:
        self.response_count = 0
        self.has_lost_request = False

    async def run(self, origin: str) -> None:
        async with tcp_connection(origin) as (reader, writer):
            while True:
                writer.write(b"GET /authors HTTP/1.1\r\nHost: test\r\n\r\n")
                try:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                except (asyncio.IncompleteReadError, ConnectionResetError):
                    self.has_lost_request = True
                    return
                assert head.startswith("http/1.1 200 ")
                _, _, after_name = head.partition("content-length: ")
                content_length, _, _ = after_name.partition("\r")
                await reader.readexactly(int(content_length))
                self.response_count += 1
                if "connection: close" in head:
                    return


@PROCESS_COUNTS
async def test_shutdown_under_load_responds_to_every_request(
    private_database_url: str, process_count: str
) -> None:
    rest_of_upload = b"x" * 100_000 + END_OF_FORM
    content_length = len(START_OF_FORM) + len(rest_of_upload)
    async with (
        running_server(
            DATABASE_URL=private_database_url,
            WEB_CONCURRENCY=process_count,
            # Many clients share few connections, and a busy machine is slow.
            DB_POOL_TIMEOUT="20",
            # The test does not read the log of the process, so its lines must not fill the pipe.
            LOG_LEVEL="WARNING",
        ) as (process, origin),
        open_request(origin, upload_head(content_length) + START_OF_FORM) as (reader, writer),
    ):
        clients = [PersistentClient() for _ in range(60)]
        tasks = [asyncio.create_task(client.run(origin)) for client in clients]

        async def are_all_busy() -> bool:
            for task in tasks:
                if task.done():
                    # Raise the error of a client that has failed.
                    task.result()
            return all(client.response_count > 3 for client in clients)

        await poll_until(are_all_busy)
        process.send_signal(signal.SIGTERM)
        await asyncio.gather(*tasks)
        writer.write(rest_of_upload)
        assert (await reader.readline()).startswith(b"HTTP/1.1 201 ")
        assert not any(client.has_lost_request for client in clients)
        assert await wait_for_exit(process) == 0


async def test_readyz_is_503_before_the_server_closes_its_port(private_database_url: str) -> None:
    async with running_server(DATABASE_URL=private_database_url) as (process, origin):
        async with AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client:
            assert (await client.get("/readyz")).status_code == 200
            process.send_signal(signal.SIGTERM)
            while True:
                response = await client.get("/readyz")
                if response.status_code != 200:
                    break
            check_problem(response, 503, "unavailable")
            assert response.json()["detail"] == "The server is shutting down. Retry later."
            assert response.headers["connection"] == "close"
            assert (await client.get("/authors")).status_code == 200
        assert await wait_for_exit(process) == 0


@PROCESS_COUNTS
async def test_shutdown_cancels_a_request_that_does_not_end_in_time(
    private_database_url: str, process_count: str
) -> None:
    port = find_free_port()

    async def is_uploading() -> bool:
        samples = await scrape_metrics(port)
        return samples["uploads_in_flight"] == 1 and samples["http_requests_in_flight"] == 1

    async def is_shutting_down() -> bool:
        return (await scrape_metrics(port))["shutting_down"] >= 1

    async with (
        running_server(
            DATABASE_URL=private_database_url, WEB_CONCURRENCY=process_count, METRICS_PORT=port
        ) as (process, origin),
        open_request(origin, upload_head(2000) + START_OF_FORM) as (reader, _),
    ):
        await poll_until(is_uploading)
        assert not await is_shutting_down()
        process.send_signal(signal.SIGTERM)
        await poll_until(is_shutting_down)
        assert await wait_for_exit(process) == 0
        status_line = await reader.read(12)
        assert status_line in (b"HTTP/1.1 503", b"")


async def test_shutdown_does_not_wait_for_a_frozen_database(migrated_data_dir: Path) -> None:
    async with (
        running_postgres(migrated_data_dir) as url,
        running_server(DATABASE_URL=url) as (process, origin),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        assert (await client.get("/authors")).status_code == 200
        with frozen_postgres(migrated_data_dir):
            request = asyncio.create_task(client.get("/authors"))
            process.send_signal(signal.SIGTERM)
            assert await wait_for_exit(process) == 0
            await asyncio.wait({request})


async def test_shutdown_does_not_wait_for_a_silent_object_store(private_database_url: str) -> None:
    has_been_called = asyncio.Event()

    async def never_respond(_reader: StreamReader, _writer: StreamWriter) -> None:
        has_been_called.set()
        await asyncio.Event().wait()

    body = START_OF_FORM + b"content" + END_OF_FORM
    async with (
        tcp_server(never_respond) as store_address,
        running_server(
            DATABASE_URL=private_database_url, S3_ENDPOINT_URL=f"http://{store_address}"
        ) as (process, origin),
        open_request(origin, upload_head(len(body)) + body),
    ):
        await has_been_called.wait()
        process.send_signal(signal.SIGTERM)
        assert await wait_for_exit(process) == 0
