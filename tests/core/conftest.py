"""Fixtures for the tests of app.core."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator

import pytest
from fastapi import FastAPI

from app.core.db import Database
from checks.references import inline_components
from tests.support import servers
from tests.support.factories import Json
from tests.support.log_pipe import Pipe
from tests.support.many_books import INSERT_BOOKS
from tests.support.pgbouncer import PREPARED, PgBouncer, running_pgbouncer
from tests.support.processes import TIMEOUT_SECONDS, running_server
from tests.support.rows import fill_tables


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe for log lines, which a test reads."""
    pipe = Pipe()
    yield pipe
    os.close(pipe.reader)
    pipe.stream.close()


@pytest.fixture(scope="session")
def document(application: FastAPI) -> Json:
    """The OpenAPI document of the service, whose operations contain what they refer to.

    Tests must not change it.
    """
    return inline_components(json.loads(json.dumps(application.openapi())))


@pytest.fixture
async def filled_tables(database: Database) -> None:
    """57 rows in every table: three pages of the default size."""
    await fill_tables(database, 57)


@pytest.fixture(scope="module")
async def template_with_many_books(template_url: str) -> AsyncIterator[str]:
    """The URL of a database with many books, created once for all tests of a module."""
    async with servers.copy_with_rows(template_url, INSERT_BOOKS) as url:
        yield url


@pytest.fixture(scope="module")
async def origin(template_url: str) -> AsyncIterator[str]:
    """The origin of a server process that all tests of a module share."""
    async with (
        servers.open_copy(template_url) as url,
        running_server(DATABASE_URL=url) as (_, origin),
    ):
        yield origin


@pytest.fixture
async def time_limit() -> AsyncIterator[None]:
    """Let a test fail that waits too long, for example for a response that never comes."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        yield


@pytest.fixture(scope="module")
def pgbouncer(template_url: str) -> Iterator[PgBouncer]:
    with running_pgbouncer(template_url) as process:
        yield process


@pytest.fixture(scope="module")
def direct_url(template_url: str) -> Iterator[str]:
    """The URL of a database that the tests of this module share."""
    url = asyncio.run(servers.copy_database(template_url, f"poolers_{os.getpid()}"))
    yield url
    asyncio.run(servers.drop_database(url))


@pytest.fixture(scope="module")
def pooled_url(pgbouncer: PgBouncer, direct_url: str) -> str:
    """The URL of the same database through PgBouncer."""
    return pgbouncer.url(direct_url)


@pytest.fixture(params=["transaction", PREPARED])
def pooler(request: pytest.FixtureRequest) -> str:
    """The values of DB_POOLER for a pooler in transaction mode."""
    return str(request.param)
