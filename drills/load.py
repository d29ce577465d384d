"""Clients that write and read during a drill, and count what happens to their requests."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from time import monotonic
from typing import Final
from uuid import uuid4

import asyncpg
import httpx

NUMBER_OF_WRITERS: Final = 8
NUMBER_OF_READERS: Final = 4
# A client repeats a request with the same key for this time, and then gives up.
RETRY_SECONDS: Final = 30.0
RETRY_INTERVAL_SECONDS: Final = 0.1
REQUEST_TIMEOUT_SECONDS: Final = 12.0
_RETRIED_STATUSES: Final = {408, 409, 429, 502, 503, 504}
_COUNT_COPIES: Final = "SELECT name, count(*) AS copies FROM authors GROUP BY name"


@dataclass
class Load:
    """Counts the results of all requests. Times are those of `time.monotonic`.

    `acknowledged` has the name of each author for which a client got 201, and when.
    """

    origins: list[str]
    acknowledged: dict[str, float] = field(default_factory=dict)
    given_up: list[str] = field(default_factory=list)
    replayed: int = 0
    # Requests of writers that failed and were repeated, by status or error.
    write_retries: Counter[str] = field(default_factory=Counter)
    read_times: dict[str, list[float]] = field(default_factory=dict)
    read_failures: Counter[str] = field(default_factory=Counter)
    report_ages: list[float] = field(default_factory=list)
    _stopping: bool = False
    _tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    async def __aenter__(self) -> "Load":
        self._client = httpx.AsyncClient(timeout=REQUEST_TIMEOUT_SECONDS)
        self._tasks = [asyncio.create_task(self._write(n)) for n in range(NUMBER_OF_WRITERS)]
        for number in range(NUMBER_OF_READERS):
            path = ("/authors?size=5&count=none", "/reports/user-counts")[number % 2]
            self._tasks.append(asyncio.create_task(self._read(path, number)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    async def finish(self) -> None:
        """Let the clients finish the requests that they have begun, and stop."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    def first_write_after(self, time: float) -> float | None:
        """Return the seconds from a time to the next acknowledged write, or None without one."""
        later_times = [written - time for written in self.acknowledged.values() if written > time]
        return min(later_times, default=None)

    def writes_between(self, start: float, end: float) -> int:
        """Return how many writes were acknowledged between two times."""
        return sum(start < time < end for time in self.acknowledged.values())

    def longest_pause(self, path: str, start: float, end: float) -> float:
        """Return the longest time in seconds in which no read of a path succeeded."""
        times = [time for time in self.read_times.get(path, []) if start < time < end]
        edges = [start, *times, end]
        return max(later - earlier for earlier, later in pairwise(edges))

    async def _write(self, writer: int) -> None:
        """Create authors, one after the other. Repeat each request until it succeeds."""
        number = 0
        while not self._stopping:
            number += 1
            name = f"writer {writer}, author {number}"
            await self._create_author(name, writer)
            # A bounded load, so that the drill measures failures and not the machine.
            await asyncio.sleep(0.01)

    async def _create_author(self, name: str, writer: int) -> None:
        headers = {"Idempotency-Key": str(uuid4())}
        deadline = monotonic() + RETRY_SECONDS
        while monotonic() < deadline:
            url = f"{self.origins[writer % len(self.origins)]}/authors"
            outcome = await self._send("POST", url, headers=headers, json={"name": name})
            if isinstance(outcome, httpx.Response) and outcome.status_code == 201:
                self.acknowledged[name] = monotonic()
                self.replayed += "idempotency-replayed" in outcome.headers
                return
            self.write_retries[describe_outcome(outcome)] += 1
            if isinstance(outcome, httpx.Response) and outcome.status_code not in _RETRIED_STATUSES:
                break
            await asyncio.sleep(RETRY_INTERVAL_SECONDS)
        self.given_up.append(name)

    async def _read(self, path: str, reader: int) -> None:
        """Read a list again and again."""
        while not self._stopping:
            outcome = await self._send("GET", self.origins[reader % len(self.origins)] + path)
            if isinstance(outcome, httpx.Response) and outcome.status_code == 200:
                self.read_times.setdefault(path, []).append(monotonic())
                self._record_age(outcome)
            else:
                self.read_failures[f"{path.partition('?')[0]}: {describe_outcome(outcome)}"] += 1
            await asyncio.sleep(0.02)

    def _record_age(self, response: httpx.Response) -> None:
        """Remember how old a report says that its data is, in seconds."""
        data_time = response.headers.get("data-as-of")
        if data_time is not None:
            self.report_ages.append(age_in_seconds(data_time))

    async def _send(self, method: str, url: str, **options: object) -> httpx.Response | Exception:
        try:
            return await self._client.request(method, url, **options)  # type: ignore[arg-type]
        except httpx.HTTPError as error:
            return error


def age_in_seconds(data_time: str) -> float:
    """Return the seconds since a time such as `2026-11-21T19:47:34.120512Z`."""
    return (datetime.now(UTC) - datetime.fromisoformat(data_time)).total_seconds()


def describe_outcome(outcome: httpx.Response | Exception) -> str:
    """Return the status of a response, or the name of an error."""
    if isinstance(outcome, httpx.Response):
        return str(outcome.status_code)
    return type(outcome).__name__


async def find_lost_and_duplicated(load: Load, database_url: str) -> tuple[list[str], list[str]]:
    """Return the names of authors that were acknowledged and are missing, and that exist twice."""
    connection = await asyncpg.connect(database_url)
    rows = await connection.fetch(_COUNT_COPIES)
    await connection.close()
    copies = {row["name"]: row["copies"] for row in rows}
    lost = [name for name in load.acknowledged if name not in copies]
    duplicated = [name for name, number in copies.items() if number > 1]
    return lost, duplicated
