"""Fixtures for all tests.

A test uses the application with a database that all tests of a pytest worker share, and whose rows
are deleted after each test. A test that is marked `private_database` gets a new, empty database.
"""

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from pytest_rerunfailures import ClientStatusDB

from app.core.db import Database
from app.core.storage import Storage
from app.core.storage._store_threads import MAX_CONCURRENT_PARTS
from app.main import create_app
from app.settings import Settings
from app.users.passwords import PasswordHasher
from tests.support import postgres_server, servers
from tests.support.app_clients import open_client
from tests.support.chromium import serving_empty_page
from tests.support.databases import open_database
from tests.support.directories import server_directory
from tests.support.isolation import Cleaner, open_cleaner
from tests.support.resources import get_resources, replace_resources
from tests.support.settings import make_settings
from tests.support.statements import observe_session_statements, wait_for_statement_callbacks
from tests.support.store_proxy import StoreProxy, running_store_proxy

# Tests that run the tests of a copy of the repository, or a long series of requests.
LONGEST_FILES = {"test_adding_an_entity.py", "test_fuzz.py"}
# Stops Postgres and the object store when pytest ends.
_running_servers = ExitStack()
_TEMPLATE_URL = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Start Postgres and the object store once, in the controller process of pytest-xdist.

    The workers of pytest-xdist receive the URL of the template database as worker input, and the
    address of the object store as environment variables.
    """
    worker_input = getattr(config, "workerinput", None)
    if worker_input is not None:
        config.stash[_TEMPLATE_URL] = worker_input["template_url"]
    elif not config.option.collectonly:
        config.stash[_TEMPLATE_URL] = _running_servers.enter_context(
            servers.running_template_database()
        )
        os.environ.update(_running_servers.enter_context(servers.running_store()))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Send the URL of the template database to a worker of pytest-xdist."""
    node.workerinput["template_url"] = node.config.stash[_TEMPLATE_URL]  # type: ignore[attr-defined]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run the tests of a single file in this process. Return None for the usual number of workers.

    A file is not divided (`--dist loadfile`), and each worker would import the service once more.
    """
    paths = {argument.partition("::")[0] for argument in config.args}
    is_one_file = len(paths) == 1 and Path(paths.pop()).is_file()
    return 0 if is_one_file else None


def pytest_sessionstart(session: pytest.Session) -> None:
    """Speed up the connection of pytest-rerunfailures to the controller of pytest-xdist.

    The plugin sends two small packets before each test and waits for a response. By default, TCP
    delays the second packet for 40 ms.
    """
    status_client = getattr(session.config, "failures_db", None)
    if isinstance(status_client, ClientStatusDB):
        status_client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files that take longest first, so that no process waits for another at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST_FILES)


def pytest_collection_finish() -> None:
    """Exclude the collected tests from garbage collection, because they live until the end."""
    gc.collect()
    gc.freeze()
    # The thresholds that the service sets at startup.
    gc.set_threshold(20_000, 50, 100)


def pytest_unconfigure() -> None:
    _running_servers.close()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def template_url(request: pytest.FixtureRequest) -> str:
    """The URL of the migrated, empty database that the databases of all tests are copied from."""
    return request.config.stash[_TEMPLATE_URL]


@pytest.fixture(scope="module")
async def page_origin() -> AsyncIterator[str]:
    """The origin of an empty page, which a browser opens to send requests from another origin."""
    async with serving_empty_page() as origin:
        yield origin


@pytest.fixture(scope="session")
def shared_url(template_url: str) -> Iterator[str]:
    """The URL of the database that the tests of this pytest-xdist worker share."""
    worker_name = os.environ.get("PYTEST_XDIST_WORKER", "main")
    url = asyncio.run(servers.copy_database(template_url, worker_name))
    yield url
    asyncio.run(servers.drop_database(url))


@pytest.fixture
async def private_database_url(template_url: str) -> AsyncIterator[str]:
    """The URL of a new, migrated and empty database that only this test uses."""
    async with servers.open_copy(template_url) as url:
        yield url


@pytest.fixture
async def private_database(private_database_url: str) -> AsyncIterator[Database]:
    """A new, empty database that only this test uses."""
    async with open_database(make_settings(private_database_url)) as database:
        yield database


@pytest.fixture(scope="session")
async def shared_database(shared_url: str) -> AsyncIterator[Database]:
    """The database that the tests of this pytest-xdist worker share, with one connection pool."""
    async with open_database(make_settings(shared_url)) as database:
        yield database


@pytest.fixture(scope="session")
async def cleaner(shared_url: str) -> AsyncIterator[Cleaner]:
    """Deletes the rows of the shared database."""
    async with open_cleaner(shared_url) as shared_database_cleaner:
        await shared_database_cleaner.delete_all_rows()
        yield shared_database_cleaner


@pytest.fixture
async def emptied_shared_database(
    shared_database: Database, cleaner: Cleaner
) -> AsyncIterator[Database]:
    """The shared database, without rows. The rows that the test adds are deleted after it."""
    yield shared_database
    await shared_database.wait_for_callbacks()
    await cleaner.delete_all_rows()


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Database:
    """The database of the test: a new one if the test is marked `private_database`.

    This fixture is synchronous, because async fixtures cannot call `getfixturevalue`.
    """
    fixture_name = "emptied_shared_database"
    if request.node.get_closest_marker("private_database"):
        fixture_name = "private_database"
    database: Database = request.getfixturevalue(fixture_name)
    return database


@pytest.fixture
def database_url(database: Database) -> str:
    """The URL of the test's database: `postgresql://user:password@host:5432/name`."""
    return database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
async def outside_connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the test's database that does not come from the service's pool."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def migrated_data_dir() -> Iterator[Path]:
    """The data directory of a Postgres that is stopped and whose database is migrated."""
    with server_directory() as directory:
        yield postgres_server.create_migrated_data_dir(directory)


@pytest.fixture(scope="session")
def password_hasher() -> Iterator[PasswordHasher]:
    """The threads that hash passwords, shared by all tests."""
    password_hasher = PasswordHasher()
    yield password_hasher
    password_hasher.close()


@pytest.fixture(scope="session")
def application(template_url: str) -> FastAPI:
    """The application that all tests share, because creating it takes long."""
    return create_app(make_settings(template_url))


@pytest.fixture(scope="session")
def shared_storage(template_url: str) -> Iterator[Storage]:
    """The client of the object store that all tests share."""
    storage = Storage(make_settings(template_url))
    yield storage
    storage.close()


@pytest.fixture
def storage(shared_storage: Storage) -> Storage:
    """The client of the object store."""
    # A semaphore belongs to one event loop, and each test has a new one.
    shared_storage.part_semaphore = asyncio.Semaphore(MAX_CONCURRENT_PARTS)
    return shared_storage


@pytest.fixture
async def proxy() -> AsyncIterator[StoreProxy]:
    """A proxy for the object store, which a service uses if it gets the origin of the proxy."""
    async with running_store_proxy() as store_proxy:
        yield store_proxy


@pytest.fixture
def settings(template_url: str) -> Settings:
    """Settings with a key prefix in the object store that only this test uses."""
    return make_settings(template_url, s3_prefix=f"test/{uuid4().hex}/")


@pytest.fixture
def app(
    application: FastAPI,
    database: Database,
    password_hasher: PasswordHasher,
    storage: Storage,
    settings: Settings,
) -> FastAPI:
    """The application with the resources of this test."""
    replace_resources(
        application,
        database=database,
        password_hasher=password_hasher,
        storage=storage,
        settings=settings,
    )
    return application


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application. A request returns after everything that it started has ended."""

    async def wait_for_side_effects(_: httpx.Response) -> None:
        await get_resources(app).database.wait_for_callbacks()
        await wait_for_statement_callbacks()

    async with open_client(app) as client:
        client.event_hooks = {"response": [wait_for_side_effects]}
        yield client


@pytest.fixture
def statements(database: Database) -> Iterator[list[str]]:
    """The SQL statements that sessions execute during the test, in order."""
    statements: list[str] = []

    def record_statement(statement: str, _parameters: object) -> None:
        statements.append(statement)

    with observe_session_statements(database, record_statement):
        yield statements
