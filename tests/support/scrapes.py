"""Scrapes a server with several processes and a worker, after requests of many kinds."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

from httpx import AsyncClient

from app.worker import JOBS
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import make_document
from tests.support.metrics import find_free_port, scrape_metrics, scrape_names
from tests.support.processes import TIMEOUT_SECONDS, poll_until, running_server, running_workers


class Scrapes(NamedTuple):
    """The metrics of a server and a worker, after requests of many kinds."""

    # The value of each sample, by its name and its labels.
    server: Mapping[str, float]
    worker: Mapping[str, float]
    # The names of all metrics, also of those without samples. Histograms have no suffix.
    names: set[str]


@asynccontextmanager
async def running_server_and_worker(database_url: str) -> AsyncIterator[Scrapes]:
    """Start a server with two processes and a worker, use them, and yield their samples."""
    server_port, worker_port = find_free_port(), find_free_port()
    server_environment = {
        "DATABASE_URL": database_url,
        "METRICS_PORT": server_port,
        "WEB_CONCURRENCY": "2",
    }

    async def have_all_jobs_run() -> bool:
        # The metrics cannot be scraped before the worker has started.
        if "count-users" not in worker.output:
            return False
        samples = await scrape_metrics(worker_port)
        due_jobs = [name for name in samples if name.startswith("job_due_timestamp_seconds")]
        return len(due_jobs) == len(JOBS)

    async with (
        running_workers({"DATABASE_URL": database_url, "METRICS_PORT": worker_port}) as [worker],
        running_server(**server_environment) as (_, origin),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        await _send_requests(client)
        await poll_until(have_all_jobs_run)
        yield Scrapes(
            server=await scrape_metrics(server_port),
            worker=await scrape_metrics(worker_port),
            names=await scrape_names(server_port) | await scrape_names(worker_port),
        )


async def _send_requests(client: AsyncClient) -> None:
    """Send requests of many kinds, some of which are hostile: each asks for new time series."""
    assert (await client.get("/readyz")).status_code == 200
    await make_document(client)
    author = {"name": "Ada"}
    for _ in range(2):
        await client.post("/authors", json=author, headers={"Idempotency-Key": "first"})
    for number in range(30):
        await client.get(f"/unknown/{number}")
        await client.get(f"/books/{UNKNOWN_ID}", params={f"filter-{number}": number})
        await client.get("/books", params={"sort": ("title", "-title")[number % 2], "size": 1})
        await client.request(f"METHOD{number}", "/books")
        await client.get("/books", headers={"Host": f"host{number}"})
        await client.get("/books", headers={"X-Request-ID": f"request-{number}"})
    await client.post("/tokens", data={"username": "nobody@example.com", "password": "wrong"})
