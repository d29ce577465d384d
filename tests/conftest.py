"""Fixtures. A test gets the application over a transaction that is rolled back afterwards; one
marked `commits` gets it over a database of its own, where what it writes is really committed."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, event
from sqlalchemy.ext.asyncio import AsyncConnection, async_sessionmaker, create_async_engine
from sqlalchemy.pool import NullPool

from app import embedded
from app.core.db import AutocommitSession, Database, Parameters, Prepared, TransactionSession
from app.core.db._database import BINDS
from app.core.db._sessions import Records
from app.core.storage import Storage
from app.core.storage._storage import PARTS_IN_FLIGHT
from app.main import create_app
from app.settings import Settings
from app.users.passwords import Passwords
from tests import databases, servers
from tests.support.resources import use_resources

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
    """The database of this process's rolled-back tests; other processes have their own."""
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


class RolledBackSession(AutocommitSession):
    """Each statement is a savepoint of the one connection."""

    async def _fetch(self, statement: Prepared, parameters: Parameters) -> Records:
        async with self._engine.connection.begin_nested():  # type: ignore[attr-defined]
            return await super()._fetch(statement, parameters)

    @contextmanager
    def _lent(self) -> Iterator[Connection]:
        yield self._engine.connection.sync_connection  # type: ignore[attr-defined]

    async def _connected(self) -> Any:
        return self._lent()


class RolledBackDatabase(Database):
    """All sessions over one connection: each statement or transaction of theirs is a savepoint."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.engine = connection.engine
        self._size, self._streams = 4, 0
        self.binds = dict.fromkeys(BINDS, self)
        self.connection = connection
        self.reads = RolledBackSession(self, read=True)  # type: ignore[arg-type]
        self.writes = RolledBackSession(self, read=False)  # type: ignore[arg-type]
        self.transactions = async_sessionmaker(
            connection,
            class_=TransactionSession,
            expire_on_commit=False,
            join_transaction_mode="create_savepoint",
        )

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        connection = self.connection.sync_connection
        assert connection
        with connection.begin_nested():
            yield connection

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        """Back to what was there before, and on in the same transaction."""
        async with self.connection.begin_nested() as savepoint:
            yield
            await savepoint.rollback()

    @asynccontextmanager
    async def streaming(self) -> AsyncIterator[TransactionSession]:
        """Undone at the end: a cursor ends with its transaction, but outlives a savepoint."""
        async with super().streaming() as session:
            yield session
            await session.rollback()


@pytest.fixture
async def committing(own_database: str) -> AsyncIterator[Database]:
    """The service's own sessions; what they write is committed."""
    real = Database(settings_for(own_database))
    yield real
    await real.close()


@asynccontextmanager
async def rolling_back(url: str) -> AsyncIterator[RolledBackDatabase]:
    """Sessions over a transaction that nobody ever sees."""
    engine = create_async_engine(servers.sqlalchemy_url(url), poolclass=NullPool)
    async with engine.connect() as connection, connection.begin() as outer:
        yield RolledBackDatabase(connection)
        await outer.rollback()
    await engine.dispose()


@pytest.fixture(scope="session")
async def connection(shared_url: str) -> AsyncIterator[AsyncConnection]:
    """One for all rolled-back tests: to connect takes longer than most of them."""
    engine = create_async_engine(servers.sqlalchemy_url(shared_url), poolclass=NullPool)
    async with engine.connect() as made:
        yield made
    await engine.dispose()


@pytest.fixture
async def rolled_back(connection: AsyncConnection) -> AsyncIterator[Database]:
    async with connection.begin() as outer:
        yield RolledBackDatabase(connection)
        await outer.rollback()


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Database:
    # Not async: an async fixture cannot ask for another one while it runs.
    kind = "committing" if request.node.get_closest_marker("commits") else "rolled_back"
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
    return databases.migrate(tmp_path)


@pytest.fixture(scope="session")
def passwords() -> Iterator[Passwords]:
    made = Passwords()
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
    _storage.part_slots = asyncio.Semaphore(PARTS_IN_FLIGHT)  # of this test's event loop
    return _storage


@pytest.fixture
def settings(template_url: str) -> Settings:
    """Settings with a prefix of the store that only this test uses."""
    return settings_for(template_url, s3_prefix=f"test/{uuid4().hex}/")


@pytest.fixture
def app(
    application: FastAPI,
    database: Database,
    passwords: Passwords,
    storage: Storage,
    settings: Settings,
) -> FastAPI:
    use_resources(
        application, database=database, passwords=passwords, storage=storage, settings=settings
    )
    return application


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


def engines(database: Database) -> set[Engine]:
    """Those of all of its binds."""
    return {sessions.engine.sync_engine for sessions in database.binds.values()}


@contextmanager
def noted(database: Database, note: Callable[[str, Any], None]) -> Iterator[None]:
    """Be told of every SQL statement and its parameters: SQLAlchemy's and what the driver runs."""

    def before(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        note(statement, parameters)

    def arguments(statement: Prepared, parameters: Parameters) -> list[Any]:
        found = original(statement, parameters)
        note(statement.sql, tuple(found))
        return found

    original = Prepared.arguments
    for engine in engines(database):
        event.listen(engine, "before_cursor_execute", before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Prepared, "arguments", arguments)
        yield
    for engine in engines(database):
        event.remove(engine, "before_cursor_execute", before)


@pytest.fixture
def statements(database: Database) -> Iterator[list[str]]:
    """Every SQL statement that the sessions send from now on, savepoints apart."""
    sent: list[str] = []
    with noted(database, lambda statement, _: sent.append(statement)):
        yield sent
