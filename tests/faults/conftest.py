"""Fixtures for tests whose service may fail, so that no other module shares its database."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from tests.support import servers


@pytest.fixture(scope="module")
async def database_url(template_url: str) -> AsyncIterator[str]:
    """The URL of a new, migrated and empty database that the tests of one module share."""
    url = await servers.copy_database(template_url, uuid4().hex[:12])
    yield url
    await servers.drop_database(url)
