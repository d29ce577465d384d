"""Clients that send requests continuously while faults happen, and the check of what they wrote."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg
from httpx import AsyncClient, HTTPError

from tests.support.factories import Json, make_author
from tests.support.processes import poll_until

READER_COUNT = 4
WRITER_COUNT = 3
RETRYING_WRITER_COUNT = 2
PAUSE_AFTER_FAILURE_SECONDS = 0.05
SUCCESS_STATUSES = {200, 201, 204}
# In place of the name of an author who may have been deleted.
DELETED = None

# Sends a request. Returns the status, or a text if there was no response, and the JSON body.
SendRequest = Callable[..., Coroutine[None, None, tuple[int | str, Json]]]


class Outcome(NamedTuple):
    """The outcome of one request."""

    started_at: float
    seconds: float
    method: str
    # A text such as "ReadTimeout('')" if there was no response.
    status: int | str


class Load:
    """Clients of three kinds that send requests one after the other until the load is stopped.

    Readers get an author. Writers create, rename and delete authors. Retrying writers create
    authors with an `Idempotency-Key` and retry until they succeed.
    """

    def __init__(self, origin: str, author_path: str) -> None:
        self._origin = origin
        self._author_path = author_path
        self._is_stopped = False
        self._outcomes = list[Outcome]()
        # Both have the number of the client as the key.
        self._success_counts = Counter[int]()
        self._failure_counts = Counter[int]()
        # For each id of an author, the names that the author may have according to the responses.
        # There are several after a request without a successful response.
        self._possible_names = dict[str, set[str | None]]()

    def statuses(self, method: str = "", since: float = 0.0) -> set[int | str]:
        """Return the statuses of requests that were sent since a time, with this method or any."""
        return {
            outcome.status
            for outcome in self._outcomes
            if outcome.started_at >= since and method in outcome.method
        }

    def longest_seconds(self) -> float:
        """Return the time that the slowest request took."""
        return max(outcome.seconds for outcome in self._outcomes)

    async def wait_for_status(self, status: int) -> None:
        """Wait until a request that is sent from now on gets a response with this status."""
        now = monotonic()

        async def has_status() -> bool:
            return status in self.statuses(since=now)

        await poll_until(has_status)

    async def wait_for_recovery(self) -> float:
        """Wait until a read and a write that are sent from now on succeed. Return the seconds."""
        now = monotonic()

        async def has_recovered() -> bool:
            successful_methods = {
                outcome.method
                for outcome in self._outcomes
                if outcome.started_at >= now and outcome.status in SUCCESS_STATUSES
            }
            return successful_methods >= {"GET", "POST"}

        await poll_until(has_recovered)
        return monotonic() - now

    async def wait_until_all_succeed(self) -> None:
        """Wait until every client has had a success with a request that it sent from now on."""
        # The first success may be that of a request that was sent before.
        await self._wait_for_counts(self._success_counts, increase=2)

    async def wait_until_all_fail(self) -> None:
        """Wait until every client has had a failure, so that no earlier request is in progress."""
        await self._wait_for_counts(self._failure_counts, increase=1)

    async def _wait_for_counts(self, counts: Counter[int], *, increase: int) -> None:
        """Wait until the count of every client has increased by at least `increase`."""
        counts_before = counts.copy()
        clients = range(READER_COUNT + WRITER_COUNT + RETRYING_WRITER_COUNT)

        async def have_increased() -> bool:
            return all(counts[client] - counts_before[client] >= increase for client in clients)

        await poll_until(have_increased)

    async def run(self) -> None:
        """Run all clients until `stop` is called."""
        behaviors = [
            *[self._read] * READER_COUNT,
            *[self._write] * WRITER_COUNT,
            *[self._write_with_retries] * RETRYING_WRITER_COUNT,
        ]
        await asyncio.gather(
            *(self._run_client(number, behavior) for number, behavior in enumerate(behaviors))
        )

    def stop(self) -> None:
        """Let each client stop after its current request or sequence of requests."""
        self._is_stopped = True

    async def _run_client(
        self, number: int, behavior: Callable[[SendRequest], Coroutine[None, None, None]]
    ) -> None:
        async with AsyncClient(base_url=self._origin, timeout=30) as client:

            async def send_request(
                method: str, path: str, **options: Any
            ) -> tuple[int | str, Json]:
                started_at = monotonic()
                status: int | str
                body: Json = {}
                try:
                    response = await client.request(method, path, **options)
                    status = response.status_code
                except HTTPError as error:
                    status = repr(error)
                seconds = monotonic() - started_at
                self._outcomes.append(Outcome(started_at, seconds, method, status))
                if status not in SUCCESS_STATUSES:
                    self._failure_counts[number] += 1
                    await asyncio.sleep(PAUSE_AFTER_FAILURE_SECONDS)
                    return status, body
                self._success_counts[number] += 1
                if status != 204:
                    body = response.json()
                return status, body

            while not self._is_stopped:
                await behavior(send_request)

    async def _read(self, send_request: SendRequest) -> None:
        await send_request("GET", self._author_path)

    async def _write(self, send_request: SendRequest) -> None:
        """Create an author, rename them, and delete every second one."""
        name = str(uuid4())
        status, author = await send_request("POST", "/authors", json={"name": name})
        if status != 201:
            return
        author_id = author["id"]
        path = f"/authors/{author_id}"
        new_name = f"changed {name}"
        status, _ = await send_request("PATCH", path, json={"name": new_name})
        if status == 200:
            self._possible_names[author_id] = {new_name}
        else:
            self._possible_names[author_id] = {name, new_name}
        id_is_odd = int(author_id[-1], 16) % 2 == 1
        if id_is_odd:
            status, _ = await send_request("DELETE", path)
            if status == 204:
                self._possible_names[author_id] = {DELETED}
            else:
                self._possible_names[author_id].add(DELETED)

    async def _write_with_retries(self, send_request: SendRequest) -> None:
        """Create an author, and retry with the same `Idempotency-Key` until that succeeds."""
        key = str(uuid4())
        name = f"once {key}"
        while not self._is_stopped:
            status, author = await send_request(
                "POST", "/authors", json={"name": name}, headers={"Idempotency-Key": key}
            )
            if status == 201:
                self._possible_names[author["id"]] = {name}
                return

    async def check_database(self, database_url: str) -> None:
        """Check that the database has every confirmed write, and each retried write only once."""
        connection = await asyncpg.connect(database_url)
        rows = await connection.fetch("SELECT id::text, name FROM authors")
        repeated_names = await connection.fetch(
            "SELECT name FROM authors WHERE name LIKE 'once %' GROUP BY 1 HAVING count(*) > 1"
        )
        await connection.close()
        assert repeated_names == []
        names = {row["id"]: row["name"] for row in rows}
        assert self._possible_names
        wrong_ids = {
            author_id
            for author_id, possible_names in self._possible_names.items()
            if names.get(author_id, DELETED) not in possible_names
        }
        assert wrong_ids == set()


@asynccontextmanager
async def running_load(client: AsyncClient, origin: str) -> AsyncIterator[Load]:
    """Send requests to the service until the block ends.

    `client` creates the author whom the readers get.
    """
    author = await make_author(client)
    load = Load(origin, f"/authors/{author['id']}")
    task = asyncio.create_task(load.run())
    try:
        await load.wait_until_all_succeed()
        yield load
    finally:
        load.stop()
        await task
