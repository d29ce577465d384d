"""The end of a server: what it was told to do it does, and then it ends; one process or several."""

import asyncio
import signal
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest
from httpx import AsyncClient

from tests.support.connections import tcp_connection, tcp_server
from tests.support.document_forms import END_OF_FORM, START_OF_FORM
from tests.support.postgres_server import frozen_postgres, running_postgres
from tests.support.problems import check_problem
from tests.support.processes import TIMEOUT_SECONDS, running_server
from tests.support.processes import poll_until as eventually
from tests.support.raw_requests import open_request, upload_head

pytestmark = pytest.mark.private_database

GRACE = 10.0  # seconds
SPARE = 2.0  # seconds that a busy machine may take beyond that
SEVERAL = pytest.mark.parametrize("processes", ["1", "2"])


async def ended(process: Process) -> int:
    async with asyncio.timeout(GRACE + SPARE):
        return await process.wait()


class Reader:
    """A client that asks again and again on one connection, until the server closes it."""

    def __init__(self) -> None:
        self.answered, self.unanswered = 0, False

    async def read(self, origin: str) -> None:
        closing = False
        async with tcp_connection(origin) as (reader, writer):
            while not closing:
                writer.write(b"GET /authors HTTP/1.1\r\nHost: test\r\n\r\n")
                try:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                except (asyncio.IncompleteReadError, ConnectionResetError):
                    self.unanswered = True
                    break
                assert head.startswith("http/1.1 200 ")
                await reader.readexactly(int(head.split("content-length: ")[1].split("\r")[0]))
                closing, self.answered = "connection: close" in head, self.answered + 1


@SEVERAL
async def test_under_load_no_request_that_was_sent_remains_without_its_answer(
    private_database_url: str, processes: str
) -> None:
    rest = b"x" * 100_000 + END_OF_FORM
    length = len(START_OF_FORM) + len(rest)
    quiet = {"LOG_LEVEL": "WARNING"}  # nobody reads what it says: its lines would fill the pipe
    async with (
        running_server(DATABASE_URL=private_database_url, WEB_CONCURRENCY=processes, **quiet) as (
            process,
            origin,
        ),
        open_request(origin, upload_head(length) + START_OF_FORM) as (answer, writer),
    ):
        readers = [Reader() for _ in range(60)]
        load = [asyncio.create_task(reader.read(origin)) for reader in readers]

        async def busy() -> bool:
            return all(reader.answered > 3 for reader in readers)

        await eventually(busy)
        process.send_signal(signal.SIGTERM)
        await asyncio.gather(*load)  # each is told by its last answer
        writer.write(rest)
        assert (await answer.readline()).startswith(b"HTTP/1.1 201 ")
        assert not any(reader.unanswered for reader in readers)
        assert await ended(process) == 0


async def test_it_says_that_it_is_not_ready_before_it_closes_its_port(
    private_database_url: str,
) -> None:
    async with running_server(DATABASE_URL=private_database_url) as (process, origin):
        async with AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client:
            assert (await client.get("/readyz")).status_code == 200
            process.send_signal(signal.SIGTERM)
            while (answer := await client.get("/readyz")).status_code == 200:
                pass
            check_problem(answer, 503, "unavailable")
            assert answer.json()["detail"] == "The server is shutting down"
            assert answer.headers["connection"] == "close"
            assert (await client.get("/authors")).status_code == 200
        assert await ended(process) == 0


@SEVERAL
async def test_what_does_not_come_to_its_end_is_cut_off_in_time(
    private_database_url: str, processes: str
) -> None:
    async with (
        running_server(DATABASE_URL=private_database_url, WEB_CONCURRENCY=processes) as (
            process,
            origin,
        ),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
        open_request(origin, upload_head(2000) + START_OF_FORM) as (answer, _),
    ):
        assert (await client.get("/livez")).status_code == 200  # of some process
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0
        assert (await answer.read(12)) in (b"HTTP/1.1 503", b"")


async def test_a_frozen_database_does_not_keep_it(migrated_data_dir: Path) -> None:
    async with (
        running_postgres(migrated_data_dir) as url,
        running_server(DATABASE_URL=url) as (process, origin),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        assert (await client.get("/authors")).status_code == 200
        with frozen_postgres(migrated_data_dir):
            stuck = asyncio.create_task(client.get("/authors"))
            process.send_signal(signal.SIGTERM)
            assert await ended(process) == 0
            await asyncio.wait({stuck})


async def test_a_silent_store_does_not_keep_it(private_database_url: str) -> None:
    async def silent(_: StreamReader, __: StreamWriter) -> None:
        asked.set()
        await asyncio.Event().wait()

    asked = asyncio.Event()
    body = START_OF_FORM + b"content" + END_OF_FORM
    async with (
        tcp_server(silent) as store,
        running_server(DATABASE_URL=private_database_url, S3_ENDPOINT_URL=f"http://{store}") as (
            process,
            origin,
        ),
        open_request(origin, upload_head(len(body)) + body),
    ):
        await asked.wait()
        process.send_signal(signal.SIGTERM)
        assert await ended(process) == 0


# Several processes


def serving_processes(process: Process) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(process.pid).children()
        if "spawn_main" in " ".join(child.as_dict(["cmdline"], ad_value=())["cmdline"])
    ]


@asynccontextmanager
async def two(url: str) -> AsyncIterator[tuple[Process, str, list[psutil.Process]]]:
    """A server of two processes that serve already."""
    async with (
        running_server(DATABASE_URL=url, WEB_CONCURRENCY="2", DB_POOL_SIZE="4") as (
            process,
            origin,
        ),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        assert (await client.get("/livez")).status_code == 200
        yield process, origin, serving_processes(process)


async def test_a_process_that_dies_is_replaced(private_database_url: str) -> None:
    async with two(private_database_url) as (process, origin, [one, _]):
        one.kill()

        async def replaced() -> bool:
            found = serving_processes(process)
            return len(found) == 2 and one not in found

        await eventually(replaced)
        async with AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client:
            assert (await client.get("/readyz")).status_code == 200


async def test_no_process_outlives_the_one_that_started_it(private_database_url: str) -> None:
    async with two(private_database_url) as (process, _, children):
        process.kill()
        assert psutil.wait_procs(children, timeout=GRACE + SPARE)[1] == []


async def test_processes_share_the_connections(
    private_database_url: str, outside_connection: asyncpg.Connection
) -> None:
    async with (
        two(private_database_url) as (_, origin, _),
        AsyncClient(base_url=origin, timeout=TIMEOUT_SECONDS) as client,
    ):
        for _ in range(5):
            await asyncio.gather(*(client.get("/authors") for _ in range(20)))
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bookshelf'"
        assert await outside_connection.fetchval(f"{count} AND datname = current_database()") <= 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_ends_all_processes(private_database_url: str, number: int) -> None:
    async with two(private_database_url) as (process, _, children):
        process.send_signal(number)
        assert await ended(process) == 0
        assert not any(child.is_running() for child in children)
        assert process.stdout
        rest = (await process.stdout.read()).decode()
        assert "Bookshelf serves" not in rest
        assert "Traceback" not in rest
