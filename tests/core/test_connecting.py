"""Responses while no connection to the database can be opened, whatever the reason is."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response
from sqlalchemy.engine import make_url

from tests.support import servers
from tests.support.connections import tcp_server
from tests.support.databases import open_database
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import Json
from tests.support.problems import check_problem
from tests.support.resources import replace_resources
from tests.support.settings import UNREACHABLE_DATABASE_URL, make_settings

# Names that only the suite uses, because roles belong to the whole server.
ROLE = f"bookshelf_test_{uuid4().hex[:12]}"
PASSWORD = "s3cr3t"


@asynccontextmanager
async def connecting_to(
    app: FastAPI, url: str, *, pool_timeout: float = 5.0
) -> AsyncIterator[None]:
    """Have the application use the database of a URL until the block ends."""
    async with open_database(make_settings(url, db_pool_timeout=pool_timeout)) as database:
        replace_resources(app, database=database)
        yield


async def send_requests(client: AsyncClient) -> list[Response]:
    """Send requests that use each kind of session and transaction."""
    return [
        await client.get("/authors"),
        await client.get("/authors", headers={"Accept": "application/jsonl"}),
        await client.get("/reports/user-counts"),
        await client.post("/authors", json={"name": "Ursula"}),
        await client.post(
            "/authors", json={"name": "Ursula"}, headers={"Idempotency-Key": uuid4().hex}
        ),
        await client.post(
            "/books/batch", json={"items": [{"title": "x", "author_id": UNKNOWN_ID}]}
        ),
    ]


async def check_unavailable(client: AsyncClient, reason: str, problem_type: str) -> None:
    """Check that requests are 503, and that the readiness check names the reason."""
    for response in await send_requests(client):
        check_problem(response, 503, problem_type)
        assert response.headers["retry-after"] == "1"
        assert PASSWORD not in response.text
    readiness = await client.get("/readyz")
    check_problem(readiness, 503, "unavailable")
    assert readiness.json()["detail"] == f"database: {reason}"


@pytest.fixture
async def server_connection(template_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to another database of the same server."""
    connection = await asyncpg.connect(servers.with_database_name(template_url, "postgres"))
    yield connection
    await connection.close()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


# The statement that prepares the role of the URL, the reason in the readiness check, and the type
# of the problem.
REJECTED_ROLES = {
    "does not exist (28000)": ("SELECT 1", "rejects the login", "unavailable"),
    "must not log in (28000)": (f"CREATE ROLE {ROLE} NOLOGIN", "rejects the login", "unavailable"),
    "has too many connections (53300)": (
        f"CREATE ROLE {ROLE} LOGIN CONNECTION LIMIT 0",
        "has too many connections",
        "overloaded",
    ),
}


@pytest.mark.parametrize("case", REJECTED_ROLES)
async def test_requests_return_503_when_server_rejects_role(
    app: FastAPI,
    client: AsyncClient,
    template_url: str,
    server_connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
    case: str,
) -> None:
    statement, reason, problem_type = REJECTED_ROLES[case]
    url = make_url(template_url).set(username=ROLE, password=PASSWORD)
    await server_connection.execute(statement)
    try:
        async with connecting_to(app, url.render_as_string(hide_password=False)):
            await check_unavailable(client, reason, problem_type)
    finally:
        await server_connection.execute(f"DROP ROLE IF EXISTS {ROLE}")
    assert any(reason in line and ROLE in line for line in warnings_of(caplog)), caplog.text
    assert PASSWORD not in caplog.text


@pytest.mark.private_database
async def test_service_recovers_when_database_accepts_connections_again(
    client: AsyncClient, database_url: str, server_connection: asyncpg.Connection
) -> None:
    database = make_url(database_url).database
    await server_connection.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
    # SQLSTATE 55000.
    await check_unavailable(client, "does not accept connections", "unavailable")
    await server_connection.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')
    assert (await client.get("/readyz")).status_code == 200
    assert (await client.post("/authors", json={"name": "Ursula"})).status_code == 201


# Changes of a URL after which the driver cannot connect, and the reason in the readiness check.
UNUSABLE_URLS: dict[str, tuple[Json, dict[str, str | None], str]] = {
    "missing database": ({"database": "missing"}, {}, "does not exist"),
    "standby expected": (
        {},
        {"target_session_attrs": "standby"},
        "has no host that matches target_session_attrs",
    ),
    "empty label in host name": (
        {"host": "a..example"},
        {"host": None},
        "has a host name that cannot be resolved",
    ),
    "refused": ({"host": "127.0.0.1", "port": 1}, {"host": None}, "does not accept connections"),
    "missing socket": ({}, {"host": "/nonexistent"}, "does not accept connections"),
}


@pytest.mark.parametrize("case", UNUSABLE_URLS)
async def test_requests_return_503_when_url_leads_to_no_usable_server(
    app: FastAPI,
    client: AsyncClient,
    template_url: str,
    caplog: pytest.LogCaptureFixture,
    case: str,
) -> None:
    parts, parameters, reason = UNUSABLE_URLS[case]
    url = make_url(template_url).set(**parts)
    for name, value in parameters.items():
        url = url.difference_update_query([name])
        if value is not None:
            url = url.update_query_dict({name: value})
    async with connecting_to(app, url.render_as_string(hide_password=False)):
        await check_unavailable(client, reason, "unavailable")
    assert any(reason in line for line in warnings_of(caplog)), caplog.text


async def test_missing_ca_file_returns_503_instead_of_422(
    app: FastAPI, client: AsyncClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The driver's error is a ValueError, as is its error for a value that it cannot encode."""
    monkeypatch.setenv("HOME", str(tmp_path))
    ca_file = tmp_path / ".postgresql" / "root.crt"
    ca_file.parent.mkdir()
    ca_file.touch()
    url = f"{UNREACHABLE_DATABASE_URL}?sslmode=verify-full"
    async with connecting_to(app, url):
        # The settings require the file, but it may disappear later.
        ca_file.unlink()
        await check_unavailable(client, "has a URL that cannot be used", "unavailable")


@asynccontextmanager
async def fake_server(
    login_response: bytes | None, parameters: str = "sslmode=disable"
) -> AsyncIterator[str]:
    """Start a server that sends bytes after a login and disconnects, or None: never responds.

    Yields its URL. A real server cannot be kept in these states for as long as a test needs.
    """

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        if login_response is None:
            await asyncio.Event().wait()
        else:
            writer.write(login_response)

    async with tcp_server(respond) as address:
        yield f"postgresql://user:{PASSWORD}@{address}/x?{parameters}"


def encode_error_response(sqlstate: str) -> bytes:
    """Return the bytes of an ErrorResponse with an SQLSTATE.

    https://www.postgresql.org/docs/current/protocol-message-formats.html
    """
    fields = f"SFATAL\0VFATAL\0C{sqlstate}\0Mthe hidden cause\0\0".encode()
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields


STARTING = "is starting up or shutting down"
RESPONSES = {
    "starting up or shutting down": (encode_error_response("57P03"), STARTING, "unavailable"),
    "terminated while logging in": (encode_error_response("57P01"), STARTING, "unavailable"),
    "role without CONNECT privilege": (
        encode_error_response("42501"),
        "rejects the login",
        "unavailable",
    ),
    "wrong password": (encode_error_response("28P01"), "rejects the login", "unavailable"),
    "all slots in use": (encode_error_response("53300"), "has too many connections", "overloaded"),
    "pooler without a server": (
        encode_error_response("08006"),
        "does not accept connections",
        "unavailable",
    ),
    # Codes that mean another error after the login: of the client, a deadlock, a conflict, a bug.
    "invalid parameter": (
        encode_error_response("22023"),
        "rejects connections with SQLSTATE 22023",
        "unavailable",
    ),
    "serialization failure": (
        encode_error_response("40001"),
        "rejects connections with SQLSTATE 40001",
        "unavailable",
    ),
    "protocol violation of a pooler": (
        encode_error_response("08P01"),
        "does not accept connections",
        "unavailable",
    ),
    "unknown error": (
        encode_error_response("XX000"),
        "rejects connections with SQLSTATE XX000",
        "unavailable",
    ),
    "disconnects": (b"", "does not accept connections", "unavailable"),
    "no response": (None, "does not respond", "unavailable"),
}


@pytest.mark.parametrize("case", RESPONSES)
async def test_requests_return_503_when_login_fails(
    app: FastAPI, client: AsyncClient, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    login_response, reason, problem_type = RESPONSES[case]
    pool_timeout = 0.1 if login_response is None else 5.0
    async with (
        fake_server(login_response) as url,
        connecting_to(app, url, pool_timeout=pool_timeout),
    ):
        await check_unavailable(client, reason, problem_type)
    warnings = warnings_of(caplog)
    assert warnings
    # As they would with the text of a TimeoutError.
    assert not any(line.endswith(": ") for line in warnings)
    assert PASSWORD not in caplog.text


async def test_requests_return_503_when_server_has_no_tls(
    app: FastAPI, client: AsyncClient
) -> None:
    # This is how Postgres refuses TLS.
    async with fake_server(b"N", "sslmode=require") as url, connecting_to(app, url):
        await check_unavailable(client, "does not accept connections", "unavailable")
