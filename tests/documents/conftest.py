"""Fixtures of documents: who acts, what is in the store, the sweeper, a proxy before the store."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import asyncpg
import pytest
from fastapi import FastAPI

from app.core.db import Database
from app.core.storage import Storage
from app.documents.sweeper import Sweeper, SweepResult
from app.settings import Settings
from tests.support import stored_objects
from tests.support.clients_with_tokens import ClientFactory, client_factory
from tests.support.resources import replace_resources
from tests.support.store_proxy import StoreProxy, running_store_proxy

Stored = Callable[[], Awaitable[list[str]]]
Sweep = Callable[[], Awaitable[SweepResult]]
UseStore = Callable[[str], None]
Age = Callable[[], Awaitable[object]]


@pytest.fixture
async def client_with_role(app: FastAPI, database: Database) -> AsyncIterator[ClientFactory]:
    async with client_factory(app, database) as made:
        yield made


@pytest.fixture
async def proxy() -> AsyncIterator[StoreProxy]:
    async with running_store_proxy() as made:
        yield made


@pytest.fixture
def use_store(app: FastAPI, settings: Settings) -> Iterator[UseStore]:
    """Have the service use the store at another endpoint, from now on."""
    made: list[Storage] = []

    def use(endpoint: str) -> None:
        made.append(Storage(settings.model_copy(update={"s3_endpoint_url": endpoint})))
        replace_resources(app, storage=made[-1])

    yield use
    for storage in made:
        storage.close()


@pytest.fixture
def stored(storage: Storage, settings: Settings, outside_connection: asyncpg.Connection) -> Stored:
    """For each key of the test's what there is: the state of its row, `object`, `part`."""
    return lambda: stored_objects.list_object_states(
        storage, settings.s3_prefix, outside_connection
    )


@pytest.fixture
def sweep(database: Database, storage: Storage, settings: Settings) -> Sweep:
    return Sweeper(database.writes, storage, settings).sweep


@pytest.fixture
def age(outside_connection: asyncpg.Connection) -> Age:
    """Let a day pass for all that is stored."""
    longer = "UPDATE stored_objects SET touched_at = touched_at - interval '1 day'"
    return lambda: outside_connection.execute(longer)
