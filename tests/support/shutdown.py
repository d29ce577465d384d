"""Clients that connect to a server which shuts down, and its processes."""

import asyncio
import socket
from asyncio.subprocess import Process
from contextlib import suppress
from urllib.parse import urlsplit

import psutil

from app.core.server._graceful_protocol import REQUEST_WAIT_SECONDS
from tests.support.connections import tcp_connection
from tests.support.processes import poll_until

# A shutdown takes at most ten seconds, and a busy machine may need two more.
MAX_SHUTDOWN_SECONDS = 10.0 + 2.0
REQUEST = b"GET /authors HTTP/1.1\r\nHost: test\r\n\r\n"
# Some clients wait before they send their request, as clients on a slow network do.
CLIENT_DELAYS = [0, 0, 0, 0.02] * 4


async def wait_for_exit(process: Process) -> int:
    """Wait until a server has shut down. Return its exit code."""
    async with asyncio.timeout(MAX_SHUTDOWN_SECONDS):
        return await process.wait()


def find_server_processes(supervisor: Process) -> list[psutil.Process]:
    """Return the processes that the supervisor has started to handle requests.

    They accept connections at the same address as the supervisor, which holds the socket.
    """
    main_process = psutil.Process(supervisor.pid)
    addresses = _listening_addresses(main_process)
    processes = []
    for child in main_process.children():
        # A process that was killed may disappear at this moment.
        with suppress(psutil.NoSuchProcess):
            if _listening_addresses(child) & addresses:
                processes.append(child)
    return processes


def _listening_addresses(process: psutil.Process) -> set[tuple[str, int]]:
    """Return the addresses at which a process accepts connections."""
    connections = process.net_connections("tcp")
    return {each.laddr for each in connections if each.status == psutil.CONN_LISTEN}


class ConnectingClients:
    """Clients that send each request on a new connection, until the server refuses connections.

    `response_count` is the number of responses to all of them.
    """

    def __init__(self, origin: str) -> None:
        """Start the clients, which send requests to `origin`."""
        self.response_count = 0
        self._tasks = [asyncio.create_task(self._run(origin, delay)) for delay in CLIENT_DELAYS]

    async def wait_until_busy(self) -> None:
        """Wait until the clients have received many more responses."""
        next_count = self.response_count + 20 * len(CLIENT_DELAYS)

        async def has_next_count() -> bool:
            return self.response_count >= next_count

        await poll_until(has_next_count)

    async def wait_until_refused(self) -> list[str]:
        """Wait until the server refuses connections. Return the errors of other kinds."""
        errors = await asyncio.gather(*self._tasks)
        return [error for error in errors if error]

    async def _run(self, origin: str, delay: float) -> str:
        """Send requests until one fails. Return the error, or "" if the port is closed.

        Clients that take too long to send their request, because the machine is busy, may fail.
        """
        loop = asyncio.get_running_loop()
        while True:
            must_respond = True
            started_at = loop.time()
            try:
                async with tcp_connection(origin) as (reader, writer):
                    await asyncio.sleep(delay)
                    writer.write(REQUEST)
                    must_respond = loop.time() - started_at < REQUEST_WAIT_SECONDS
                    status_line = await reader.readuntil(b"\r\n")
            except ConnectionRefusedError:
                return ""
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                if must_respond:
                    return repr(error)
                continue
            if not status_line.startswith(b"HTTP/1.1 200 "):
                return status_line.decode()
            self.response_count += 1


class QueuedRequests:
    """Requests that were sent on connections which the server may not have accepted yet."""

    def __init__(self, origin: str, count: int = 20) -> None:
        """Connect to the server, and send one request on each connection."""
        address = urlsplit(origin)
        self._sockets = []
        for _ in range(count):
            connection = socket.create_connection((address.hostname, address.port))
            connection.sendall(REQUEST)
            self._sockets.append(connection)

    async def read_status_lines(self) -> set[bytes]:
        """Return the different beginnings of the responses, for example `{b"HTTP/1.1 200"}`.

        Raises `ConnectionResetError` if the server has reset a connection.
        """
        status_lines = set()
        for connection in self._sockets:
            reader, writer = await asyncio.open_connection(sock=connection)
            status_lines.add(await reader.read(12))
            writer.close()
        return status_lines
