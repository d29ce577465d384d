"""Two servers behind a proxy, one of which is replaced while clients send requests."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from httpx import AsyncClient, HTTPError

from tests.support.metrics import find_free_port
from tests.support.processes import (
    TIMEOUT_SECONDS,
    Worker,
    poll_until,
    start_command,
    wait_for_origin,
)
from tests.support.proxies import Proxy
from tests.support.shutdown import wait_for_exit

# So that the clients do not need all of the processor.
PAUSE_SECONDS = 0.1


class ServerPair:
    """Two servers, each with a port that it keeps when it is restarted."""

    def __init__(self, database_url: str, **environment: str) -> None:
        """Prepare the servers. `environment` has further variables of their processes."""
        self.database_url = database_url
        self.addresses = [f"127.0.0.1:{find_free_port()}" for _ in range(2)]
        self._environment = {"DATABASE_URL": database_url, **environment}
        self._processes: dict[int, Worker] = {}

    async def start(self, number: int) -> None:
        """Start the server with this number, 0 or 1, and wait until it is ready."""
        port = self.addresses[number].rpartition(":")[2]
        process = await start_command("serve", PORT=port, **self._environment)
        origin = await wait_for_origin(process)
        self._processes[number] = Worker(process)
        async with AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client:

            async def is_ready() -> bool:
                return (await client.get("/readyz")).status_code == 200

            # The first check of a process takes long. HAProxy waits for 2 seconds.
            await poll_until(is_ready)

    def begin_shutdown(self, number: int) -> None:
        """Send SIGTERM to a server."""
        self._processes[number].process.terminate()

    async def wait_until_stopped(self, number: int) -> None:
        """Wait until a server has shut down successfully."""
        assert await wait_for_exit(self._processes[number].process) == 0

    async def stop_all(self) -> None:
        """Stop the servers that are running."""
        for server in self._processes.values():
            await server.stop()

    async def wait_until_logged(self, number: int, text: str) -> None:
        """Wait until a server has logged a line that contains a text."""

        async def has_logged() -> bool:
            return text in self._processes[number].output

        await poll_until(has_logged)


class ProxyLoad:
    """Clients of a proxy that create, read, change and delete authors until they are stopped."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        # For example {"POST 201": 3}, and the text of the exception if there was no response.
        self.outcomes = Counter[str]()
        self._is_stopped = False

    async def run(self) -> None:
        """Send requests until `stop` is called."""
        async with asyncio.TaskGroup() as clients:
            clients.create_task(self._run_client("connected", keeps_connection=True))
            clients.create_task(self._run_client("connecting", keeps_connection=False))

    def stop(self) -> None:
        self._is_stopped = True

    async def wait_for_progress(self) -> None:
        """Wait until the clients have sent about a request of each kind each."""
        total = self.outcomes.total() + 8

        async def has_progressed() -> bool:
            return self.outcomes.total() >= total

        await poll_until(has_progressed)

    async def _run_client(self, name: str, *, keeps_connection: bool) -> None:
        headers = {}
        if not keeps_connection:
            headers["Connection"] = "close"
        async with self.proxy.create_client() as client:
            client.headers.update(headers)
            for number in count():
                if self._is_stopped:
                    return
                author_id = await self._send(client, "POST", "/authors", name)
                if author_id is not None:
                    path = f"/authors/{author_id}"
                    await self._send(client, "GET", path)
                    await self._send(client, "PATCH", path, f"{name} {number}")
                    await self._send(client, "DELETE", path)

    async def _send(
        self, client: AsyncClient, method: str, path: str, name: str | None = None
    ) -> str | None:
        """Send a request, and return the id of the author in the response if there is one.

        The log of the server has the name of the proxy and the method, for example "nginx-POST".
        """
        await asyncio.sleep(PAUSE_SECONDS)
        headers = {"X-Request-ID": f"{self.proxy.name}-{method}"}
        body = None
        if name is not None:
            body = {"name": name}
        try:
            response = await client.request(method, path, json=body, headers=headers)
        except HTTPError as error:
            self.outcomes[f"{method} {error!r}"] += 1
            return None
        self.outcomes[f"{method} {response.status_code}"] += 1
        if not response.is_success or not response.content:
            return None
        author_id: str = response.json()["id"]
        return author_id


@asynccontextmanager
async def running_proxy_load(proxy: Proxy) -> AsyncIterator[ProxyLoad]:
    """Send requests through a proxy until the block ends."""
    load = ProxyLoad(proxy)
    task = asyncio.create_task(load.run())
    try:
        yield load
    finally:
        load.stop()
        await task
