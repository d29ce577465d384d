"""The application as an attribute of its module, for ASGI servers such as uvicorn."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app import hosting, main
from app.core.server import LoopbackOnlyMiddleware
from app.settings import InvalidSettings, Settings
from tests.support.processes import store_environment
from tests.support.resources import get_resources
from tests.support.settings import TEST_HOSTS, UNREACHABLE_DATABASE_URL

APPLICATION_LOGGERS = ("app", "uvicorn.access", "uvicorn.error")


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Run a test without the `.env` file of the developer, and undo what it sets up for logs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    loggers = [logging.getLogger(name) for name in APPLICATION_LOGGERS]
    states = [(list(each.handlers), list(each.filters), each.propagate) for each in loggers]
    level = loggers[0].level
    yield
    for logger, (handlers, filters, propagate) in zip(loggers, states, strict=True):
        logger.handlers = handlers
        logger.filters = filters
        logger.propagate = propagate
    loggers[0].setLevel(level)
    vars(main).pop("app", None)


@pytest.fixture
def database_environment(monkeypatch: pytest.MonkeyPatch, template_url: str) -> None:
    """The environment variables of a server with a database and an object store."""
    variables = {**store_environment(), "DATABASE_URL": template_url, "ALLOWED_HOSTS": TEST_HOSTS}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Start the application as a server does, and yield a client."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


def test_import_creates_no_application() -> None:
    assert "app" not in vars(main)
    assert "app" in dir(main)


@pytest.mark.usefixtures("database_environment")
async def test_attribute_is_an_application_of_the_environment() -> None:
    app = main.app
    assert isinstance(app, FastAPI)
    assert main.app is app
    async with running(app) as client:
        assert (await client.get("/readyz")).json() == {"status": "ready"}


def test_unknown_attribute_is_an_attribute_error() -> None:
    assert not hasattr(main, "application")


def test_error_of_an_attribute_in_the_application_is_reported_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> None:
        raise AttributeError("books")

    monkeypatch.setattr(main, "create_app", fail)
    with pytest.raises(RuntimeError, match="cannot be created"):
        _ = main.app


def test_invalid_settings_are_listed_without_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_POOL_SIZE", "secret")
    with pytest.raises(InvalidSettings, match="DB_POOL_SIZE: ") as error_info:
        main.create_app()
    assert "secret" not in str(error_info.value)


def test_production_needs_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_ENV", "production")
    with pytest.raises(InvalidSettings, match="DATABASE_URL: Must be set in production"):
        main.create_app()


@pytest.mark.usefixtures("database_environment")
def test_processes_share_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_POOL_SIZE", "20")
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    assert get_resources(main.create_app()).settings.db_pool_size == 5


@pytest.mark.usefixtures("database_environment")
async def test_missing_protection_and_metrics_are_logged_in_production(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APP_ENV", "production")
    monkeypatch.setenv("METRICS_PORT", "9100")
    async with running(main.create_app()):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert [
        line for line in lines if "python -m app serve" in line and '"WARNING"' in line
    ] == lines
    assert len(lines) == 2


async def test_outdated_database_is_logged_in_development(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", UNREACHABLE_DATABASE_URL)
    monkeypatch.setenv("S3_BUCKET", "files")
    async with running(main.create_app()) as client:
        assert (await client.get("/livez")).status_code == 200
    error_output = capsys.readouterr().err
    assert "WARNING [-] database: does not accept connections" in error_output
    assert "hunter2" not in error_output


def asgi_scope(client: Any, server: Any) -> dict[str, Any]:
    return {
        "type": "http", "method": "GET", "path": "/", "query_string": b"", "http_version": "1.1",
        "headers": [], "client": client, "server": server,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("client", "server", "is_served"),
    [
        (("127.0.0.1", 50000), ("127.0.0.1", 8000), True),
        (("::1", 50000), ("::1", 8000), True),
        (("127.0.0.1", 50000), ("0.0.0.0", 8000), True),
        (None, ("/run/app.sock", None), True),
        (("testclient", 50000), ("testserver", 80), True),
        (("192.0.2.1", 50000), ("192.0.2.2", 8000), False),
        (("192.0.2.1", 50000), ("0.0.0.0", 8000), False),
        # A client has named itself 127.0.0.1 in X-Forwarded-For, and the server has believed it.
        (("127.0.0.1", 0), ("192.0.2.2", 8000), False),
        (("fe80::1", 50000), None, False),
    ],
)
async def test_service_that_everyone_may_change_serves_only_its_machine(
    client: Any, server: Any, is_served: bool
) -> None:
    statuses = []

    async def application(_scope: Any, _receive: Any, _send: Any) -> None:
        statuses.append(200)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    middleware = LoopbackOnlyMiddleware(application)
    await middleware(asgi_scope(client, server), None, send)  # type: ignore[arg-type]
    assert statuses == [200 if is_served else 403]


@pytest.mark.parametrize(
    ("variables", "serves_only_this_machine"),
    [
        ({}, True),
        ({"ANONYMOUS_ACCESS": "full"}, False),
        ({"HOST": "0.0.0.0"}, False),
        ({"DATABASE_URL": UNREACHABLE_DATABASE_URL}, False),
    ],
)
def test_access_of_other_machines_has_to_be_decided(
    variables: dict[str, str], serves_only_this_machine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert hosting.serves_only_this_machine(Settings()) == serves_only_this_machine
