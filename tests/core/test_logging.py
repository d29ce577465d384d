"""One line for each request, in two formats; nothing that is sent can forge or break a line."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from io import StringIO
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from sqlalchemy import text

from app.core.db import Database
from app.core.observability import create_log_formatter
from app.core.storage import Storage
from app.main import create_app
from app.tokens import secret
from tests.authors.test_authors import NOBODY
from tests.conftest import make_settings
from tests.support.factories import make_book
from tests.support.processes import poll_until, running_workers
from tests.support.resources import add_public_route, replace_resources

BOTH = pytest.mark.parametrize("form", ["console", "json"])
EVIL = "a\r\nb\x1b[31m\x00\x7f\x85\x9b\u2028\u2029z"


class Log:
    """What is written while the requests are under way."""

    def __init__(self, form: str) -> None:
        self.stream = StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(create_log_formatter(form))

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Those of a JSON log that tell of requests."""
        return [line for line in map(json.loads, self.lines) if line["event"] == "request"]


@pytest.fixture
def form() -> str:
    return "json"


@pytest.fixture
def log(form: str, caplog: pytest.LogCaptureFixture) -> Iterator[Log]:
    caplog.set_level(logging.INFO)
    made, root = Log(form), logging.getLogger("app")
    root.addHandler(made.handler)
    yield made
    root.removeHandler(made.handler)


@pytest.fixture
async def connected(database: Database) -> None:
    """SQLAlchemy asks a server for its version and the like with the first connection of all."""
    await database.reads.execute(text("SELECT 1"))


@pytest.fixture
async def private_app(template_url: str, database: Database, storage: Storage) -> FastAPI:
    """An application that only this test uses and may break."""
    app = create_app(make_settings(template_url))
    replace_resources(app, database=database, storage=storage)
    return app


@pytest.fixture
async def private(private_app: FastAPI) -> AsyncIterator[AsyncClient]:
    transport = ASGITransport(private_app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.mark.private_database
@pytest.mark.usefixtures("connected")
async def test_a_request_is_one_line_that_says_all_of_it(client: AsyncClient, log: Log) -> None:
    book = await make_book(client)
    await client.get(f"/books/{book['id']}?", headers={"X-Request-ID": "from-the-proxy/7"})
    line = log.requests[-1]
    assert line["duration_ms"] > line["sql_ms"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["timestamp"])
    assert {
        key: line[key] for key in line if key not in {"duration_ms", "sql_ms", "timestamp"}
    } == {
        "level": "INFO",
        "request_id": "from-the-proxy/7",
        "logger": "app.access",
        "event": "request",
        "method": "GET",
        "route": "/books/{id}",
        "path": f"/books/{book['id']}",
        "status": 200,
        "sql": 1,
    }


@pytest.mark.parametrize("form", ["console"])
async def test_a_line_for_people_begins_with_when_how_bad_and_whose(
    client: AsyncClient, log: Log
) -> None:
    await client.get("/livez", headers={"X-Request-ID": "mine"})
    [line] = log.lines
    said = r"request method=GET route=/livez path=/livez status=200 duration_ms=[\d.]+"
    assert re.fullmatch(rf"\S+\+00:00 INFO \[mine\] {said} sql=0 sql_ms=0.0", line)


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", f"/books/{NOBODY}", "/books/{id}"),
        ("HEAD", "/books/", "/books"),
        ("PUT", f"/authors/{NOBODY}/", "/authors/{id}"),
        ("GET", "/nope/1", "unknown"),
        ("GET", "/openapi.json", "/openapi.json"),
        ("GET", "/static-offline-docs/nope.js", "/static-offline-docs"),
        ("GET", "/docs", "/docs"),
    ],
)
async def test_a_line_names_the_route_and_not_the_path(
    client: AsyncClient, log: Log, method: str, path: str, route: str
) -> None:
    await client.request(method, path)
    [line] = log.requests
    assert (line["method"], line["path"], line["route"]) == (method, path, route)


async def test_a_line_does_not_repeat_what_is_longer_than_an_id(
    client: AsyncClient, log: Log
) -> None:
    await client.get(f"/tokens/{secret.generate_token()}/{NOBODY}")  # a token, where its id belongs
    [line] = log.requests
    assert line["path"] == f"/tokens/.../{NOBODY}"


@BOTH
async def test_what_a_path_holds_cannot_break_a_line(private: AsyncClient, log: Log) -> None:
    await private.get("/nope%0D%0Aforged%1B[31m%00%7F%C2%85%C2%9B%E2%80%A8%E2%80%A9")
    [line] = log.lines
    assert line.isprintable()
    assert "forged" in line


@BOTH
async def test_what_a_failure_quotes_cannot_break_a_line(
    private: AsyncClient, private_app: FastAPI, log: Log, form: str
) -> None:
    async def fail() -> None:
        raise RuntimeError(EVIL)

    add_public_route(private_app, "/boom", fail)
    await private.get("/boom")
    first, *rest = log.lines
    assert all(line.isprintable() for line in log.lines)
    assert all(line.startswith("    ") for line in rest)
    assert bool(rest) == (form == "console")
    assert "ERROR" in first


async def test_a_failing_request_is_one_line_with_the_failure_in_it(
    private: AsyncClient, private_app: FastAPI, log: Log
) -> None:
    async def fail() -> None:
        raise RuntimeError("the secret cause")

    add_public_route(private_app, "/boom", fail)
    await private.get("/boom")
    [line] = log.requests
    assert (line["level"], line["status"], line["route"]) == ("ERROR", 500, "/boom")
    assert line["exception"].count("RuntimeError: the secret cause") == 1


@pytest.mark.private_database
@pytest.mark.usefixtures("connected")
async def test_statements_count_for_the_request_that_runs_them(
    private: AsyncClient, private_app: FastAPI, database: Database, log: Log
) -> None:
    async def several(count: int) -> None:
        for _ in range(count):
            await database.reads.execute(text("SELECT pg_sleep(0.01)"))

    add_public_route(private_app, "/several", several)
    await asyncio.gather(*(private.get(f"/several?count={count}") for count in range(5)))
    lines = sorted(log.requests, key=lambda line: line["sql"])
    assert [line["sql"] for line in lines] == [0, 1, 2, 3, 4]
    assert all(line["sql_ms"] >= 10 * line["sql"] for line in lines)


@pytest.mark.private_database
@pytest.mark.usefixtures("connected")
async def test_a_statement_that_fails_counts_too(
    private: AsyncClient, private_app: FastAPI, database: Database, log: Log
) -> None:
    async def fail() -> None:
        await database.reads.execute(text("SELECT 1 / 0"))

    add_public_route(private_app, "/fail", fail)
    await private.get("/fail")
    [line] = log.requests
    assert line["sql"] == 1
    assert line["sql_ms"] > 0


@pytest.mark.private_database
@pytest.mark.usefixtures("connected")
async def test_a_transaction_counts_its_statements_and_no_commit(
    client: AsyncClient, log: Log, statements: list[str]
) -> None:
    # The key makes a transaction of the request.
    await client.post("/authors", json={"name": "Octavia"}, headers={"Idempotency-Key": "a"})
    assert log.requests[-1]["sql"] == len(statements) > 1


@BOTH
def test_records_of_libraries_have_the_same_form(form: str) -> None:
    for name in ("uvicorn.error", "sqlalchemy.pool", "asyncio"):
        args = ("somebody",)
        record = logging.LogRecord(name, logging.WARNING, "", 1, "%s said\nit", args, None)
        record.color_message = "\x1b[1m%s said it"
        line = create_log_formatter(form).format(record)
        if form == "json":
            read = json.loads(line)
            assert read.pop("timestamp")
            assert read == {
                "level": "WARNING",
                "request_id": "-",
                "logger": name,
                "event": "somebody said\nit",
            }
        else:
            assert re.fullmatch(r"\S+ WARNING \[-\] somebody said\\nit", line)


@pytest.mark.parametrize(
    ("environment", "given", "form"),
    [
        ("production", "", "json"),
        ("development", "", "console"),
        ("production", "console", "console"),
        ("test", "json", "json"),
    ],
)
async def test_a_process_logs_in_the_format_of_its_environment(
    private_database_url: str, environment: str, given: str, form: str
) -> None:
    settings = {"APP_ENV": environment, "LOG_FORMAT": given, "DATABASE_URL": private_database_url}
    async with running_workers(settings) as [worker]:

        async def has_counted() -> bool:
            return "count-users" in worker.output

        await poll_until(has_counted)
    lines = worker.output.splitlines()
    if form == "json":
        assert all(json.loads(line)["logger"] == "app.worker" for line in lines)
    else:
        assert all(re.match(r"\S+ (INFO|WARNING) \[-\] [a-z-]+", line) for line in lines)


@pytest.mark.parametrize(("environment", "timed"), [("development", True), ("production", False)])
@pytest.mark.private_database
@pytest.mark.usefixtures("connected")
async def test_only_in_development_an_answer_says_what_took_how_long(
    template_url: str, database: Database, environment: str, timed: bool
) -> None:
    settings = make_settings(template_url, app_env=environment, anonymous_access="read")
    app = create_app(settings)
    replace_resources(app, database=database)
    transport = ASGITransport(app)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.get(f"/books/{NOBODY}")
    timing = answer.headers.get("server-timing", "")
    expected = r'db;dur=[\d.]+;desc="1", total;dur=[\d.]+' if timed else ""
    assert re.fullmatch(expected, timing)
