"""Fixtures. A test gets the application over a database that it shares with the other tests of its
process and that is emptied after each; one marked `commits` gets it over a database of its own."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app import embedded
from app.core.db import Database
from app.core.storage import Storage
from app.core.storage._storage import MAX_CONCURRENT_PARTS
from app.main import create_app
from app.settings import Settings
from app.users.passwords import PasswordHasher
from tests.support import postgres_server, servers
from tests.support.isolation import Cleaner, cleaning
from tests.support.resources import resources_of, use_resources
from tests.support.statements import heard, noted

_stack = ExitStack()
_TEMPLATE = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the servers once, in the process that hands out the tests."""
    given = getattr(config, "workerinput", None)
    if given is not None:
        config.stash[_TEMPLATE] = given["template"]
    elif not config.option.collectonly:
        config.stash[_TEMPLATE] = _stack.enter_context(servers.postgres())
        os.environ.update(_stack.enter_context(servers.s3()))  # for the other processes too


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    node.workerinput["template"] = node.config.stash[_TEMPLATE]  # type: ignore[attr-defined]


def pytest_collection_finish() -> None:
    """What the tests are made of stays: the collector need not walk it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)  # the service's own


def pytest_unconfigure() -> None:
    _stack.close()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def template_url(request: pytest.FixtureRequest) -> str:
    """The migrated, empty database that all others are copies of."""
    return request.config.stash[_TEMPLATE]


@pytest.fixture(scope="session")
def shared_url(template_url: str) -> Iterator[str]:
    """The database that the tests of this process share; other processes have their own."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    url = asyncio.run(servers.copy(template_url, worker))
    yield url
    asyncio.run(servers.drop(url))


@pytest.fixture
async def own_database(template_url: str) -> AsyncIterator[str]:
    """The URL of a fresh, migrated database that only this test uses."""
    url = await servers.copy(template_url, uuid4().hex[:12])
    yield url
    await servers.drop(url)


def settings_for(url: str, **changes: object) -> Settings:
    """Settings over a database, without the developer's `.env`."""
    store = {"s3_endpoint_url": os.environ["TEST_S3_ENDPOINT_URL"], "s3_bucket": embedded.BUCKET}
    values = {
        "app_env": "test",
        "anonymous_access": "full",
        "database_url": SecretStr(url),
        **store,
        **changes,
    }
    return Settings(_env_file=None, **values)  # type: ignore[arg-type]


@pytest.fixture
async def committing(own_database: str) -> AsyncIterator[Database]:
    """The service's own sessions; what they write is committed."""
    real = Database(settings_for(own_database))
    yield real
    await real.close()


@pytest.fixture(scope="session")
async def shared_database(shared_url: str) -> AsyncIterator[Database]:
    """The service's own sessions, with one pool for all tests that share the database."""
    shared = Database(settings_for(shared_url))
    yield shared
    await shared.close()


@pytest.fixture(scope="session")
async def cleaner(shared_url: str) -> AsyncIterator[Cleaner]:
    async with cleaning(shared_url) as made:
        yield made


@pytest.fixture
async def emptied(shared_database: Database, cleaner: Cleaner) -> AsyncIterator[Database]:
    """The shared database, which is empty before and after each test."""
    yield shared_database
    await shared_database.wait_for_callbacks()
    await cleaner.empty()


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Database:
    # Not async: an async fixture cannot ask for another one while it runs.
    kind = "committing" if request.node.get_closest_marker("commits") else "emptied"
    chosen: Database = request.getfixturevalue(kind)
    return chosen


@pytest.fixture
def url(database: Database) -> str:
    """Where the test's own database is."""
    return database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
async def other(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the same database that the service knows nothing of."""
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@pytest.fixture
def migrated_dir(tmp_path: Path) -> Path:
    """Data of a server of the test's own, which does not run: the schema is there."""
    return postgres_server.migrate(tmp_path)


@pytest.fixture(scope="session")
def passwords() -> Iterator[PasswordHasher]:
    made = PasswordHasher()
    yield made
    made.close()


@pytest.fixture(scope="session")
def application(template_url: str) -> FastAPI:
    return create_app(settings_for(template_url))


@pytest.fixture(scope="session")
def _storage(template_url: str) -> Iterator[Storage]:
    made = Storage(settings_for(template_url))
    yield made
    made.close()


@pytest.fixture
def storage(_storage: Storage) -> Storage:
    _storage.part_semaphore = asyncio.Semaphore(MAX_CONCURRENT_PARTS)  # of this test's event loop
    return _storage


@pytest.fixture
def settings(template_url: str) -> Settings:
    """Settings with a prefix of the store that only this test uses."""
    return settings_for(template_url, s3_prefix=f"test/{uuid4().hex}/")


@pytest.fixture
def app(
    application: FastAPI,
    database: Database,
    passwords: PasswordHasher,
    storage: Storage,
    settings: Settings,
) -> FastAPI:
    use_resources(
        application,
        database=database,
        password_hasher=passwords,
        storage=storage,
        settings=settings,
    )
    return application


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:

        async def settled(_: httpx.Response) -> None:
            """When a response is there, so is all that it has caused: callbacks and statements."""
            await resources_of(app).database.wait_for_callbacks()
            await heard()

        made.event_hooks = {"response": [settled]}
        yield made


@pytest.fixture
def statements(database: Database) -> Iterator[list[str]]:
    """The SQL statements that sessions execute during the test, in order."""
    sent: list[str] = []
    with noted(database, lambda statement, _: sent.append(statement)):
        yield sent
