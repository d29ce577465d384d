"""Fixtures for tests of documents: clients with roles, other stores, and the sweeper."""

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
from tests.support.rows import select_values
from tests.support.stored_objects import list_keys, list_multipart_uploads

ListObjectStates = Callable[[], Awaitable[list[str]]]
ListRemains = Callable[[], Awaitable[list[str]]]
Sweep = Callable[[], Awaitable[SweepResult]]
UseStore = Callable[..., None]
MakeObjectsStale = Callable[[], Awaitable[object]]


@pytest.fixture
async def client_with_role(app: FastAPI, database: Database) -> AsyncIterator[ClientFactory]:
    """Return a client with a token of a new user: `await client_with_role("member")`."""
    async with client_factory(app, database) as create_client:
        yield create_client


@pytest.fixture
def use_store(app: FastAPI, settings: Settings) -> Iterator[UseStore]:
    """Make the service use the object store at another endpoint: `use_store(endpoint)`.

    Further arguments are other settings, for example `s3_bucket="locked"`.
    """
    storages: list[Storage] = []

    def use_store_at(endpoint: str, **other_settings: str) -> None:
        update = {"s3_endpoint_url": endpoint, **other_settings}
        storage = Storage(settings.model_copy(update=update))
        storages.append(storage)
        replace_resources(app, storage=storage)

    yield use_store_at
    for storage in storages:
        storage.close()


@pytest.fixture
def list_object_states(
    storage: Storage, settings: Settings, outside_connection: asyncpg.Connection
) -> ListObjectStates:
    """Return the sorted states of all keys of the test, for example `["ready object"]`.

    A state consists of the state of the row, and `object` or `part` if the store has one.
    """
    return lambda: stored_objects.list_object_states(
        storage, settings.s3_prefix, outside_connection
    )


@pytest.fixture
def sweep(database: Database, storage: Storage, settings: Settings) -> Sweep:
    """Run the sweeper once."""
    return Sweeper(database.writes, storage, settings).sweep


@pytest.fixture
def make_objects_stale(outside_connection: asyncpg.Connection) -> MakeObjectsStale:
    """Make the last progress of all stored objects one day older, so that uploads expire."""
    statement = "UPDATE stored_objects SET touched_at = touched_at - interval '1 day'"
    return lambda: outside_connection.execute(statement)


@pytest.fixture
def list_remains(storage: Storage, settings: Settings, database: Database) -> ListRemains:
    """Return the keys of all objects, multipart uploads and rows of stored objects of the test."""

    async def list_all_keys() -> list[str]:
        keys = await list_keys(storage, settings.s3_prefix)
        uploads = await list_multipart_uploads(storage, settings.s3_prefix)
        rows = await select_values(database, "SELECT key FROM stored_objects")
        return keys + [upload.key for upload in uploads] + rows

    return list_all_keys
