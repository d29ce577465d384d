"""What Prometheus reads from real processes, alone and several together."""

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
from tests.authors.test_authors import NOBODY
from tests.support.database_proxy import running_database_proxy
from tests.support.metrics import find_free_port, scrape_metrics
from tests.support.problems import check_problem
from tests.support.processes import (
    exit_code_and_output,
    poll_until,
    running_server,
    running_workers,
)


def requests(samples: Mapping[str, float]) -> dict[str, float]:
    """How many of each kind there were, by their labels."""
    name = "http_request_duration_seconds_count"
    return {key.removeprefix(name): n for key, n in samples.items() if key.startswith(name)}


def labels(method: str, route: str, status: int) -> str:
    return f'{{method="{method}",route="{route}",status="{status}"}}'


async def test_requests_are_counted_by_template_and_never_by_path(
    private_database_url: str,
) -> None:
    port = find_free_port()
    environment = {
        "DATABASE_URL": private_database_url,
        "METRICS_PORT": port,
        "ANONYMOUS_ACCESS": "read",
    }
    async with running_server(**environment) as (_, origin), AsyncClient(base_url=origin) as client:
        for _ in range(3):
            await client.get(f"/books/{NOBODY}")
        for path in ("/nope", "/nope/2", "/nope%0A", "/metrics"):
            check_problem(await client.get(path), 404, "not-found")
        await client.request("PURGE", "/books")
        await client.request("PROPFIND", "/books/")
        samples = await scrape_metrics(port)
    assert requests(samples) == {
        labels("GET", "/books/{id}", 404): 3,
        labels("GET", "unknown", 404): 4,
        labels("other", "/books", 405): 2,
    }
    name = "http_request_duration_seconds_bucket"
    assert samples[f'{name}{{le="+Inf",method="GET",route="/books/{{id}}",status="404"}}'] == 3
    assert samples["process_resident_memory_bytes"] > 2**20
    assert samples["http_requests_in_flight"] == 0


async def test_what_is_under_way_and_in_use_can_be_seen(private_database_url: str) -> None:
    port = find_free_port()
    environment = {"DATABASE_URL": private_database_url, "METRICS_PORT": port, "DB_POOL_SIZE": "8"}
    other = await asyncpg.connect(private_database_url)
    async with (
        running_server(**environment, DB_STATEMENT_TIMEOUT="60", REQUEST_TIMEOUT="90") as (
            _,
            origin,
        ),
        AsyncClient(base_url=origin) as client,
    ):

        async def is_waiting() -> bool:
            return (await scrape_metrics(port))['db_pool_checked_out{database="default"}'] == 1

        async with other.transaction():
            await other.execute("LOCK TABLE authors")
            asked = asyncio.create_task(client.get("/authors"))
            await poll_until(is_waiting)
            during = await scrape_metrics(port)
        assert (await asked).status_code == 200
        after = await scrape_metrics(port)
    await other.close()
    assert (during["http_requests_in_flight"], after["http_requests_in_flight"]) == (1, 0)
    assert after['db_pool_checked_out{database="default"}'] == 0
    assert after['db_pool_size{database="default"}'] == 8
    assert after['db_pool_size{database="reporting"}'] == 2


async def test_a_connection_that_cannot_be_made_again_is_not_in_use(
    private_database_url: str,
) -> None:
    port = find_free_port()
    async with AsyncExitStack() as network:
        wire = await network.enter_async_context(running_database_proxy(private_database_url))
        async with (
            running_server(DATABASE_URL=wire.url, METRICS_PORT=port) as (_, origin),
            AsyncClient(base_url=origin) as client,
        ):
            assert (await client.get("/authors")).status_code == 200
            await network.aclose()
            for _ in range(3):
                check_problem(await client.get("/authors"), 503, "unavailable")
            assert (await scrape_metrics(port))['db_pool_checked_out{database="default"}'] == 0


async def test_the_bytes_of_uploads_are_counted(private_database_url: str) -> None:
    port = find_free_port()
    async with running_server(DATABASE_URL=private_database_url, METRICS_PORT=port) as (_, origin):
        files = {"file": ("thesis.pdf", b"x" * 123_456)}
        answer = httpx.post(f"{origin}/documents", data={"name": "Thesis"}, files=files)
        answer.raise_for_status()
        assert (await scrape_metrics(port))["upload_bytes_total"] == 123_456


async def test_a_worker_tells_how_its_jobs_went(private_database_url: str) -> None:
    port = find_free_port()

    async def all_ran() -> bool:
        samples = await scrape_metrics(port) if "count-users" in worker.output else {}
        runs = [f'job_runs_total{{job="{job.name}",outcome="done"}}' for job in JOBS]
        return all(samples.get(run) == 1 for run in runs)

    async with running_workers({"DATABASE_URL": private_database_url, "METRICS_PORT": port}) as [
        worker
    ]:
        await poll_until(all_ran)


async def test_without_a_port_nothing_else_listens(private_database_url: str) -> None:
    async with running_server(DATABASE_URL=private_database_url) as (process, _):
        sockets = psutil.Process(process.pid).net_connections("inet")
    assert len([each for each in sockets if each.status == psutil.CONN_LISTEN]) == 1


async def test_a_worker_beside_the_server_leaves_it_the_port(private_database_url: str) -> None:
    port = find_free_port()
    environment = {"DATABASE_URL": private_database_url, "METRICS_PORT": port}
    other = await asyncpg.connect(private_database_url)

    async def all_ran() -> bool:
        return bool(await other.fetchval("SELECT count(*) = $1 FROM job_runs", len(JOBS)))

    async with running_server("--worker", **environment) as (_, origin):
        httpx.get(f"{origin}/livez").raise_for_status()
        await poll_until(all_ran)
        assert requests(await scrape_metrics(port)) == {labels("GET", "/livez", 200): 1}
    await other.close()


@pytest.mark.parametrize("command", ["serve", "worker"])
async def test_a_port_in_use_is_one_sentence_and_exit_code_1(
    private_database_url: str, command: str
) -> None:
    with serve_metrics("127.0.0.1", int(port := find_free_port())):
        code, output = await exit_code_and_output(
            command, METRICS_PORT=port, DATABASE_URL=private_database_url
        )
    assert code == 1
    where = f"127.0.0.1:{port} (Address already in use)"
    assert output == f"bookshelf: cannot serve metrics on {where}: set METRICS_PORT\n"


async def test_several_processes_are_counted_together_and_the_dead_use_nothing(
    private_database_url: str,
) -> None:
    port = find_free_port()
    with serve_metrics("127.0.0.1", int(port), process_count=2):
        environment = {DIRECTORY_VARIABLE: os.environ[DIRECTORY_VARIABLE]}
        async with AsyncExitStack() as stack:
            started = []
            for _ in range(2):
                # That each has a port as well makes it count.
                own = {**environment, "DB_POOL_SIZE": "8", "METRICS_PORT": find_free_port()}
                server = running_server(DATABASE_URL=private_database_url, **own)
                process, origin = await stack.enter_async_context(server)
                started.append(process)
                httpx.get(f"{origin}/books").raise_for_status()
            both = await scrape_metrics(port)
            started[0].kill()
            await started[0].wait()
            one = await scrape_metrics(port)
    assert requests(both) == requests(one) == {labels("GET", "/books", 200): 2}
    size = 'db_pool_size{database="default"}'
    assert (both[size], one[size]) == (16, 8)
    memory = 'process_resident_memory_bytes{{pid="{}"}}'
    assert [memory.format(process.pid) in both for process in started] == [True, True]
    assert [memory.format(process.pid) in one for process in started] == [False, True]
    assert DIRECTORY_VARIABLE not in os.environ
