"""Fixtures for the tests of app.core."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI

from app.core.db import Database
from tests.support import servers
from tests.support.factories import Json
from tests.support.many_books import INSERT_BOOKS
from tests.support.processes import TIMEOUT_SECONDS, running_server
from tests.support.rows import fill_tables


@pytest.fixture(scope="session")
def document(application: FastAPI) -> Json:
    """The OpenAPI document of the service. Tests must not change it."""
    document: Json = json.loads(json.dumps(application.openapi()))
    return document


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
