"""Connections at the moment when a server closes its port: none of them is reset."""

import signal

import psutil
import pytest

from tests.support.connections import tcp_connection, write_until_disconnected
from tests.support.processes import running_server
from tests.support.raw_requests import post_head
from tests.support.shutdown import ConnectingClients, QueuedRequests, wait_for_exit

pytestmark = pytest.mark.private_database
PROCESS_COUNTS = pytest.mark.parametrize("process_count", ["1", "2"])
STOP_SIGNALS = pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])


@PROCESS_COUNTS
@STOP_SIGNALS
async def test_shutdown_resets_no_client_that_opens_a_connection_per_request(
    private_database_url: str, process_count: str, signal_number: signal.Signals
) -> None:
    async with running_server(
        DATABASE_URL=private_database_url,
        WEB_CONCURRENCY=process_count,
        # A busy machine is slow.
        DB_POOL_TIMEOUT="20",
        # The test does not read the log of the process, so its lines must not fill the pipe.
        LOG_LEVEL="WARNING",
    ) as (process, origin):
        clients = ConnectingClients(origin)
        await clients.wait_until_busy()
        process.send_signal(signal_number)
        assert await clients.wait_until_refused() == []
        assert await wait_for_exit(process) == 0


@PROCESS_COUNTS
@STOP_SIGNALS
async def test_requests_are_responded_to_if_signal_arrives_while_server_starts(
    private_database_url: str, process_count: str, signal_number: signal.Signals
) -> None:
    async with running_server(DATABASE_URL=private_database_url, WEB_CONCURRENCY=process_count) as (
        process,
        origin,
    ):
        # The server prints its origin before all of its processes accept connections.
        requests = QueuedRequests(origin)
        process.send_signal(signal_number)
        assert await requests.read_status_lines() == {b"HTTP/1.1 200"}
        assert await wait_for_exit(process) == 0


async def test_requests_in_queue_of_port_are_responded_to_before_it_is_closed(
    private_database_url: str,
) -> None:
    async with running_server(DATABASE_URL=private_database_url) as (process, origin):
        # The response shows that the server has started.
        await QueuedRequests(origin, count=1).read_status_lines()
        server = psutil.Process(process.pid)
        server.suspend()
        requests = QueuedRequests(origin)
        # When the server continues, it first handles the signal, without the delay of SIGTERM.
        process.send_signal(signal.SIGINT)
        server.resume()
        assert await requests.read_status_lines() == {b"HTTP/1.1 200"}
        assert await wait_for_exit(process) == 0


async def test_shutdown_closes_connection_that_never_sends_a_request(
    private_database_url: str,
) -> None:
    async with (
        running_server(DATABASE_URL=private_database_url) as (process, origin),
        tcp_connection(origin) as (reader, _),
        tcp_connection(origin) as (reader_of_response, writer),
    ):
        writer.write(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        await reader_of_response.readuntil(b"\r\n\r\n")
        process.send_signal(signal.SIGTERM)
        assert await reader.read() == b""
        assert await wait_for_exit(process) == 0


async def test_shutdown_ends_connection_that_still_sends_a_refused_body(
    private_database_url: str,
) -> None:
    async with (
        running_server(DATABASE_URL=private_database_url) as (process, origin),
        tcp_connection(origin) as (reader, writer),
    ):
        writer.write(post_head("/authors", "application/json", 10**9))
        await reader.read()
        process.send_signal(signal.SIGTERM)
        await write_until_disconnected(writer, bytes(16 * 1024), pause=0.1)
        assert await wait_for_exit(process) == 0
