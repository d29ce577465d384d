"""Log lines: their fields in both formats, and input that tries to forge or break a line."""

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
from tests.support.app_clients import open_client
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import make_book
from tests.support.processes import poll_until, running_workers
from tests.support.resources import add_public_route, replace_resources
from tests.support.settings import make_settings

BOTH_FORMATS = pytest.mark.parametrize("log_format", ["console", "json"])
# Line separators, a terminal escape sequence and other control characters.
CONTROL_CHARACTERS = "a\r\nb\x1b[31m\x00\x7f\x85\x9b\u2028\u2029z"
QUOTED_CONTROL_CHARACTERS = "%0D%0Aforged%1B[31m%00%7F%C2%85%C2%9B%E2%80%A8%E2%80%A9"


class RecordedLog:
    """The log lines that the application has written during a test."""

    def __init__(self, log_format: str) -> None:
        self._stream = StringIO()
        self.handler = logging.StreamHandler(self._stream)
        self.handler.setFormatter(create_log_formatter(log_format))

    def lines(self) -> list[str]:
        return self._stream.getvalue().splitlines()

    def requests(self) -> list[dict[str, Any]]:
        """Return the fields of each log line about a request. The format has to be JSON."""
        entries = [json.loads(line) for line in self.lines()]
        return [entry for entry in entries if entry["event"] == "request"]


@pytest.fixture
def log_format() -> str:
    """The format of the fixture `log`. Tests override it with a parameter."""
    return "json"


@pytest.fixture
def log(log_format: str, caplog: pytest.LogCaptureFixture) -> Iterator[RecordedLog]:
    caplog.set_level(logging.INFO)
    log = RecordedLog(log_format)
    logger = logging.getLogger("app")
    logger.addHandler(log.handler)
    yield log
    logger.removeHandler(log.handler)


@pytest.fixture
async def _first_connection(database: Database) -> None:
    """Open a connection, so that the first request runs only its own statements.

    On its first connection, SQLAlchemy asks the server for its version and the like.
    """
    await database.reads.execute(text("SELECT 1"))


@pytest.fixture
async def private_app(template_url: str, database: Database, storage: Storage) -> FastAPI:
    """An application to which only this test adds routes."""
    app = create_app(make_settings(template_url))
    replace_resources(app, database=database, storage=storage)
    return app


@pytest.fixture
async def private_client(private_app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client of `private_app` to which errors are responses, as to clients of a server."""
    async with open_client(private_app) as client:
        yield client


@pytest.mark.private_database
@pytest.mark.usefixtures("_first_connection")
async def test_request_has_one_json_line_with_all_fields(
    client: AsyncClient, log: RecordedLog
) -> None:
    book = await make_book(client)
    await client.get(f"/books/{book['id']}?", headers={"X-Request-ID": "from-the-proxy/7"})
    entry = log.requests()[-1]
    timestamp = entry.pop("timestamp")
    duration_ms = entry.pop("duration_ms")
    sql_ms = entry.pop("sql_ms")
    assert duration_ms > sql_ms > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", timestamp)
    assert entry == {
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


@pytest.mark.parametrize("log_format", ["console"])
async def test_request_has_one_console_line_with_all_fields(
    client: AsyncClient, log: RecordedLog
) -> None:
    await client.get("/livez", headers={"X-Request-ID": "mine"})
    [line] = log.lines()
    fields = r"method=GET route=/livez path=/livez status=200 duration_ms=[\d.]+ sql=0 sql_ms=0\.0"
    assert re.fullmatch(rf"\S+\+00:00 INFO \[mine\] request {fields}", line)


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", f"/books/{UNKNOWN_ID}", "/books/{id}"),
        ("HEAD", "/books/", "/books"),
        ("PUT", f"/authors/{UNKNOWN_ID}/", "/authors/{id}"),
        ("GET", "/nope/1", "unknown"),
        ("GET", "/openapi.json", "/openapi.json"),
        ("GET", "/static-offline-docs/nope.js", "/static-offline-docs"),
        ("GET", "/docs", "/docs"),
    ],
)
async def test_line_has_the_path_and_its_route(
    client: AsyncClient, log: RecordedLog, method: str, path: str, route: str
) -> None:
    await client.request(method, path)
    [entry] = log.requests()
    assert (entry["method"], entry["path"], entry["route"]) == (method, path, route)


async def test_line_omits_a_path_segment_longer_than_an_id(
    client: AsyncClient, log: RecordedLog
) -> None:
    # A client that confuses a token with its id must not write the token to the log.
    await client.get(f"/tokens/{secret.generate_token()}/{UNKNOWN_ID}")
    [entry] = log.requests()
    assert entry["path"] == f"/tokens/.../{UNKNOWN_ID}"


@BOTH_FORMATS
async def test_control_characters_in_a_path_are_escaped(
    private_client: AsyncClient, log: RecordedLog
) -> None:
    await private_client.get(f"/nope{QUOTED_CONTROL_CHARACTERS}")
    [line] = log.lines()
    assert line.isprintable()
    assert "forged" in line


@BOTH_FORMATS
async def test_control_characters_in_an_error_message_are_escaped(
    private_client: AsyncClient, private_app: FastAPI, log: RecordedLog, log_format: str
) -> None:
    async def fail() -> None:
        raise RuntimeError(CONTROL_CHARACTERS)

    add_public_route(private_app, "/fail", fail)
    await private_client.get("/fail")
    first_line, *traceback_lines = log.lines()
    assert all(line.isprintable() for line in log.lines())
    assert all(line.startswith("    ") for line in traceback_lines)
    has_traceback_lines = len(traceback_lines) > 0
    assert has_traceback_lines == (log_format == "console")
    assert "ERROR" in first_line


async def test_error_has_one_json_line_with_its_traceback(
    private_client: AsyncClient, private_app: FastAPI, log: RecordedLog
) -> None:
    async def fail() -> None:
        raise RuntimeError("the secret cause")

    add_public_route(private_app, "/fail", fail)
    await private_client.get("/fail")
    [entry] = log.requests()
    assert (entry["level"], entry["status"], entry["route"]) == ("ERROR", 500, "/fail")
    assert entry["exception"].count("RuntimeError: the secret cause") == 1


@pytest.mark.private_database
@pytest.mark.usefixtures("_first_connection")
async def test_statements_of_concurrent_requests_are_counted_separately(
    private_client: AsyncClient, private_app: FastAPI, database: Database, log: RecordedLog
) -> None:
    async def run_statements(count: int) -> None:
        for _ in range(count):
            await database.reads.execute(text("SELECT pg_sleep(0.01)"))

    add_public_route(private_app, "/statements", run_statements)
    await asyncio.gather(*(private_client.get(f"/statements?count={n}") for n in range(5)))
    entries = sorted(log.requests(), key=lambda entry: entry["sql"])
    assert [entry["sql"] for entry in entries] == [0, 1, 2, 3, 4]
    assert all(entry["sql_ms"] >= 10 * entry["sql"] for entry in entries)


@pytest.mark.private_database
@pytest.mark.usefixtures("_first_connection")
async def test_statement_that_fails_is_counted(
    private_client: AsyncClient, private_app: FastAPI, database: Database, log: RecordedLog
) -> None:
    async def fail() -> None:
        await database.reads.execute(text("SELECT 1 / 0"))

    add_public_route(private_app, "/fail", fail)
    await private_client.get("/fail")
    [entry] = log.requests()
    assert entry["sql"] == 1
    assert entry["sql_ms"] > 0


@pytest.mark.private_database
@pytest.mark.usefixtures("_first_connection")
async def test_commit_of_a_transaction_is_not_counted_as_a_statement(
    client: AsyncClient, log: RecordedLog, statements: list[str]
) -> None:
    # A request with an Idempotency-Key runs in a transaction.
    await client.post("/authors", json={"name": "Octavia"}, headers={"Idempotency-Key": "a"})
    assert log.requests()[-1]["sql"] == len(statements) > 1


@BOTH_FORMATS
@pytest.mark.parametrize("logger_name", ["uvicorn.error", "sqlalchemy.pool", "asyncio"])
def test_record_of_a_library_has_the_same_format(log_format: str, logger_name: str) -> None:
    record = logging.LogRecord(
        logger_name, logging.WARNING, "", 1, "%s said\nit", ("somebody",), None
    )
    # uvicorn adds this attribute, which must not be logged.
    record.color_message = "\x1b[1m%s said it"
    line = create_log_formatter(log_format).format(record)
    if log_format == "console":
        assert re.fullmatch(r"\S+ WARNING \[-\] somebody said\\nit", line)
        return
    entry = json.loads(line)
    assert entry.pop("timestamp")
    assert entry == {
        "level": "WARNING",
        "request_id": "-",
        "logger": logger_name,
        "event": "somebody said\nit",
    }


@pytest.mark.parametrize(
    ("environment", "setting", "expected_format"),
    [
        ("production", "", "json"),
        ("development", "", "console"),
        ("production", "console", "console"),
        ("test", "json", "json"),
    ],
)
async def test_log_format_depends_on_the_environment_unless_it_is_set(
    private_database_url: str, environment: str, setting: str, expected_format: str
) -> None:
    variables = {
        "APP_ENV": environment,
        "LOG_FORMAT": setting,
        "DATABASE_URL": private_database_url,
    }
    async with running_workers(variables) as [worker]:

        async def has_run_a_job() -> bool:
            return "count-users" in worker.output

        await poll_until(has_run_a_job)
    lines = worker.output.splitlines()
    if expected_format == "json":
        assert all(json.loads(line)["logger"] == "app.worker" for line in lines)
    else:
        assert all(re.match(r"\S+ (INFO|WARNING) \[-\] [a-z-]+", line) for line in lines)


@pytest.mark.parametrize(
    ("environment", "expected_header"),
    [("development", r'db;dur=[\d.]+;desc="1", total;dur=[\d.]+'), ("production", "")],
)
@pytest.mark.private_database
@pytest.mark.usefixtures("_first_connection")
async def test_response_has_server_timing_only_in_development(
    template_url: str, database: Database, environment: str, expected_header: str
) -> None:
    settings = make_settings(template_url, app_env=environment, anonymous_access="read")
    app = create_app(settings)
    replace_resources(app, database=database)
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        response = await client.get(f"/books/{UNKNOWN_ID}")
    assert re.fullmatch(expected_header, response.headers.get("server-timing", ""))
