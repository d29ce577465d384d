"""Fixtures for tests whose service may fail, so that no other module shares its database."""

from collections.abc import AsyncIterator

import pytest

from tests.support import servers
from tests.support.store_proxy import StoreProxy, running_store_proxy


@pytest.fixture(scope="module")
async def database_url(template_url: str) -> AsyncIterator[str]:
    """The URL of a new, migrated and empty database that the tests of one module share."""
    async with servers.open_copy(template_url) as url:
        yield url


@pytest.fixture(scope="module")
async def proxy() -> AsyncIterator[StoreProxy]:
    """A proxy for the object store, which a service uses if it gets the origin of the proxy."""
    async with running_store_proxy() as store_proxy:
        yield store_proxy
