"""Clients that go on asking whatever happens to the service, and what they were told."""

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

READERS, WRITERS, RETRIERS = 4, 3, 2
PAUSE = 0.05  # seconds
SUCCESS = {200, 201, 204}
GONE = None


class Answer(NamedTuple):
    """What came for a request, which may be no answer at all."""

    start: float
    seconds: float
    method: str
    status: int | str


class Load:
    """Readers, writers, and writers that send again with their key what has failed."""

    def __init__(self, origin: str, author: str) -> None:
        self._origin, self._author, self._over = origin, author, False
        self._answers = list[Answer]()
        self._successes, self._failures = Counter[int](), Counter[int]()  # of each client
        # The names that each author may have after what was said of it; GONE when it may be.
        self.told = dict[str, set[str | None]]()

    def statuses(self, method: str = "", since: float = 0.0) -> set[int | str]:
        """What came for requests that were sent since then."""
        return {
            each.status for each in self._answers if each.start >= since and method in each.method
        }

    def longest(self) -> float:
        """Seconds that one had to wait for an answer."""
        return max(each.seconds for each in self._answers)

    async def is_told(self, status: int) -> None:
        """Wait until anybody, of what is asked from now on, gets this answer."""
        start = monotonic()

        async def told() -> bool:
            return status in self.statuses(since=start)

        await poll_until(told)

    async def recovers(self) -> float:
        """Wait until reads and writes that were asked for from now on succeed; seconds."""
        start = monotonic()

        async def recovered() -> bool:
            since = [each for each in self._answers if each.start >= start]
            methods = {each.method for each in since if each.status in SUCCESS}
            return methods >= {"GET", "POST"}

        await poll_until(recovered)
        return monotonic() - start

    async def all_succeed(self) -> None:
        """Wait until every client had a success, of a request that it sent from now on."""
        await self._all(self._successes, 2)  # one may have been asked for before

    async def all_fail(self) -> None:
        """Wait until no client waits any more for what was under way when the fault began."""
        await self._all(self._failures, 1)

    async def _all(self, counted: Counter[int], times: int) -> None:
        before, clients = counted.copy(), range(READERS + WRITERS + RETRIERS)

        async def counts() -> bool:
            return all(counted[number] - before[number] >= times for number in clients)

        await poll_until(counts)

    async def run(self) -> None:
        kinds = [self._read] * READERS + [self._write] * WRITERS + [self._insist] * RETRIERS
        await asyncio.gather(*(self._client(n, kind) for n, kind in enumerate(kinds)))

    def end(self) -> None:
        self._over = True

    async def _client(
        self, number: int, turn: Callable[["Ask"], Coroutine[None, None, None]]
    ) -> None:
        async with AsyncClient(base_url=self._origin, timeout=30) as client:

            async def ask(method: str, path: str, **request: Any) -> tuple[int | str, Json]:
                start = monotonic()
                try:
                    answer = await client.request(method, path, **request)
                    what: int | str = answer.status_code
                except HTTPError as error:
                    what = repr(error)
                self._answers.append(Answer(start, monotonic() - start, method, what))
                (self._successes if what in SUCCESS else self._failures)[number] += 1
                if what not in SUCCESS:
                    await asyncio.sleep(PAUSE)  # it is what such a client does
                return what, answer.json() if what in SUCCESS and what != 204 else {}

            while not self._over:
                await turn(ask)

    async def _read(self, ask: "Ask") -> None:
        await ask("GET", self._author)

    async def _write(self, ask: "Ask") -> None:
        name = f"{uuid4()}"
        status, made = await ask("POST", "/authors", json={"name": name})
        if status != 201:
            return
        path, names = f"/authors/{made['id']}", self.told.setdefault(made["id"], {name})
        status, _ = await ask("PATCH", path, json={"name": f"changed {name}"})
        names -= {name} if status == 200 else set()
        names |= {f"changed {name}"}
        if int(made["id"][-1], 16) % 2:
            status, _ = await ask("DELETE", path)
            names -= names if status == 204 else set()
            names |= {GONE}

    async def _insist(self, ask: "Ask") -> None:
        name = f"once {uuid4()}"
        request = {"json": {"name": name}, "headers": {"Idempotency-Key": name[5:]}}
        while not self._over:
            status, made = await ask("POST", "/authors", **request)
            if status == 201:
                self.told[made["id"]] = {name}
                return

    async def is_all_there(self, url: str) -> None:
        """What was said to be done is, and what was sent again with its key is done once."""
        other = await asyncpg.connect(url)
        rows = await other.fetch("SELECT id::text, name FROM authors")
        twice = "SELECT name FROM authors WHERE name LIKE 'once %' GROUP BY 1 HAVING count(*) > 1"
        assert await other.fetch(twice) == []
        await other.close()
        there = {row["id"]: row["name"] for row in rows}
        assert self.told
        lost = {id_ for id_, names in self.told.items() if there.get(id_, GONE) not in names}
        assert lost == set()


Ask = Callable[..., Coroutine[None, None, tuple[int | str, Json]]]


@asynccontextmanager
async def loaded(client: AsyncClient, origin: str) -> AsyncIterator[Load]:
    """Load that is under way, until the block ends."""
    load = Load(origin, f"/authors/{(await make_author(client))['id']}")
    running = asyncio.create_task(load.run())
    try:
        await load.all_succeed()
        yield load
    finally:
        load.end()
        await running
