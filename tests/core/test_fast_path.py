"""The fast path returns the same rows and raises the same errors as SQLAlchemy."""

import asyncio
import gc
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID
from weakref import ref

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from app.authors.models import Author
from app.authors.repository import AuthorRepository
from app.books.models import Book
from app.books.repository import BookRepository
from app.core.db import Database, Rows, mark_reusable
from app.core.db import _fast_path as fast_path
from app.core.db._pool import ConnectionPool
from app.documents.repository import DocumentRepository
from app.tokens.repository import TokenRepository
from app.users.models import User
from tests.support import database_activity
from tests.support.rows import fill_tables
from tests.support.settings import make_settings

NUMBER = sa.bindparam("number", type_=sa.Integer)
AUTHOR = UUID("01890000-0000-7000-8000-000000000001")
_ONE_HOUR_AGO = sa.func.now() - sa.literal(timedelta(hours=1))
REPOSITORIES = (AuthorRepository, BookRepository, DocumentRepository, TokenRepository)
# A statement and its parameters, by name.
STATEMENTS: dict[str, tuple[sa.Executable, dict[str, Any]]] = {
    "a parameter that occurs twice, and constants": (
        sa.select((NUMBER + NUMBER).label("double"), (NUMBER + 5).label("more")),
        {"number": 2},
    ),
    "a constant that has to be converted": (
        sa.select((sa.func.now() > _ONE_HOUR_AGO).label("past")),
        {},
    ),
    "no rows": (sa.select(Author.id).where(sa.false()), {}),
    "all columns": (sa.select(Author.__table__).order_by(Author.id), {}),
    "equal names": (sa.select(Author.id, Book.id).join(Book).order_by(Book.id), {}),
    "JSON as a parameter": (
        sa.select(sa.func.jsonb_typeof(sa.bindparam("json", type_=JSONB)).label("kind")),
        {"json": {"a": [1]}},
    ),
    "JSON as a column": (
        sa.select(sa.cast(sa.bindparam("json", type_=JSONB), JSONB).label("json")),
        {"json": {"a": [1]}},
    ),
    "an enum, which the driver does not convert": (
        sa.select(sa.cast(sa.literal("upper"), sa.Enum("upper", native_enum=False)).label("e")),
        {},
    ),
    "an interval, a number and an array": (
        sa.select(
            sa.literal(timedelta(days=1)).label("interval"),
            sa.cast(NUMBER, sa.Numeric(5, 2)).label("number"),
            sa.literal([1, 2], sa.ARRAY(sa.Integer)).label("array"),
        ),
        {"number": 3},
    ),
    "IN, whose text depends on the values": (
        sa.select(Author.name).where(Author.name.in_(sa.bindparam("names", expanding=True))),
        {"names": ["Author 1", "Author 3"]},
    ),
    "a parameter that the statement does not have": (sa.select(sa.literal(1).label("n")), {"a": 2}),
    "an insert with RETURNING": (
        sa.insert(Author)
        .values(id=sa.bindparam("new_id", type_=sa.Uuid), name="x")
        .returning(Author.id, Author.version),
        {"new_id": UUID(int=7)},
    ),
    "an update without RETURNING": (
        sa.update(Author).where(Author.id == AUTHOR).values(name="changed"),
        {},
    ),
    "a delete of nothing": (sa.delete(Book).where(sa.false()).returning(Book.id), {}),
    "text": (sa.text("SELECT 1 AS n"), {}),
    "a missing parameter": (sa.select(NUMBER), {}),
    "a parameter of the wrong type": (sa.select(NUMBER.label("n")), {"number": "two"}),
    "a parameter that cannot be converted": (
        sa.select(Author.name).where(Author.id == sa.bindparam("key", type_=sa.Uuid)),
        {"key": object()},
    ),
    "a number out of range": (sa.select(NUMBER.label("n")), {"number": 2**40}),
    "a unique violation": (
        sa.insert(Author).values(id=AUTHOR, name="again").returning(Author.id),
        {},
    ),
    "a check violation": (sa.update(Author).values(name="").returning(Author.id), {}),
    "a foreign key violation": (
        sa.delete(Author).where(Author.id == AUTHOR).returning(Author.id),
        {},
    ),
    "a division by zero": (sa.select((NUMBER / 0).label("n")), {"number": 1}),
    "an unknown column": (sa.select(sa.column("shelf")).select_from(Author.__table__), {}),
    "an unknown function": (sa.select(sa.func.missing().label("n")), {}),
}


@pytest.fixture
async def databases_by_fast_path(
    database: Database, database_url: str
) -> AsyncIterator[dict[bool, Database]]:
    """Two `Database` objects over the same rows: `True` has the fast path on, `False` off."""
    await fill_tables(database, 3)
    databases = {
        fast_path_on: Database(make_settings(database_url, db_fast_path=fast_path_on))
        for fast_path_on in (True, False)
    }
    yield databases
    for each in databases.values():
        await each.close()


async def execute_and_describe(
    database: Database, statement: sa.Executable, parameters: dict[str, Any]
) -> Any:
    """Execute a statement and return its rows, or a description of its error."""
    try:
        rows: Rows = await database.writes.execute(statement, parameters)
    except Exception as error:  # noqa: BLE001 - it is compared
        return describe_error(error), describe_error(error.__cause__)
    return [dict(row) for row in rows]


def describe_error(error: BaseException | None) -> tuple[Any, ...]:
    original = getattr(error, "orig", None)
    return type(error), str(error), type(original), getattr(original, "sqlstate", None)


@pytest.mark.parametrize("name", STATEMENTS)
async def test_reusable_statement_has_same_rows_and_errors_with_and_without_fast_path(
    databases_by_fast_path: dict[bool, Database], cleaner: Any, name: str
) -> None:
    statement, parameters = STATEMENTS[name]
    outcomes = []
    async with cleaner.snapshot():
        for fast_path_on in (True, False):
            for _ in range(2):
                outcomes.append(
                    await execute_and_describe(
                        databases_by_fast_path[fast_path_on], mark_reusable(statement), parameters
                    )
                )
                await cleaner.restore()
    assert outcomes == [outcomes[0]] * 4


@pytest.mark.parametrize("fast_path_on", [True, False])
async def test_reusable_statement_returns_same_rows_in_transaction(
    databases_by_fast_path: dict[bool, Database], fast_path_on: bool
) -> None:
    statement = mark_reusable(sa.select((NUMBER + 1).label("next")))
    autocommit_rows = await databases_by_fast_path[fast_path_on].writes.execute(
        statement, {"number": 1}
    )
    async with databases_by_fast_path[fast_path_on].transaction() as session:
        transaction_rows = await session.execute(statement, {"number": 1})
    assert (
        [dict(row) for row in autocommit_rows]
        == [dict(row) for row in transaction_rows]
        == [{"next": 2}]
    )


@pytest.mark.parametrize("fast_path_on", [True, False])
async def test_connection_is_discarded_when_reusable_statement_is_cancelled(
    databases_by_fast_path: dict[bool, Database],
    outside_connection: asyncpg.Connection,
    fast_path_on: bool,
) -> None:
    statement = mark_reusable(sa.select(sa.func.pg_sleep(60).label("slept")))
    statement_task = asyncio.create_task(
        databases_by_fast_path[fast_path_on].reads.execute(statement)
    )
    await database_activity.wait_for_query_result(
        1, outside_connection, database_activity.COUNT_SLEEPING
    )
    statement_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await statement_task
    pool = databases_by_fast_path[fast_path_on].engine.sync_engine.pool
    assert isinstance(pool, sa.QueuePool)
    assert pool.checkedout() == 0


def test_fast_path_supports_statements_of_repositories() -> None:
    """Statements that it does not support would work as well, but slowly."""
    for repository in REPOSITORIES:
        statements = repository.statements
        columns = frozenset({"name", "title"} & set(statements.table.c.keys()))
        key = frozenset({"id"})
        for statement in (
            statements.select_row(frozenset()),
            statements.insert(columns | key),
            statements.update(columns, version_check="is one of"),
            statements.delete(version_check="is none of"),
            statements.select_page(key, (), after_cursor=True, count_mode="exact"),
        ):
            assert fast_path.find_driver_statement(statement) is not None, str(statement)


def test_statement_derived_from_reusable_statement_has_its_own_sql() -> None:
    statement = mark_reusable(sa.select(User.id))
    derived = statement.where(User.id == 1)
    compiled = [fast_path.find_driver_statement(each) for each in (statement, derived)]
    assert compiled[0] is not None
    assert compiled[1] is not None
    assert compiled[0].sql + " \nWHERE users.id = $1::BIGINT" == compiled[1].sql


def test_environment_variable_selects_fast_path_in_tests(
    template_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (True, False):
        monkeypatch.setenv("DB_FAST_PATH", str(value))
        assert make_settings(template_url).db_fast_path is value


def test_fast_path_ignores_statement_that_is_not_reusable() -> None:
    assert fast_path.find_driver_statement(sa.select(User.id)) is None


def test_compiled_statement_is_garbage_collected_with_its_statement() -> None:
    statement = mark_reusable(sa.select(User.id, User.name))
    assert fast_path.find_driver_statement(statement) is not None
    reference = ref(statement)
    del statement
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("event_name", ["checkout", "checkin", "reset"])
async def test_fast_path_calls_listeners_of_pool(
    databases_by_fast_path: dict[bool, Database], event_name: str
) -> None:
    database = databases_by_fast_path[True]
    statement = mark_reusable(sa.select(sa.literal(1).label("n")))
    await database.reads.execute(statement)
    calls = []
    engine = database.engine.sync_engine
    sa.event.listen(engine, event_name, lambda *_: calls.append(event_name))
    await database.reads.execute(statement)
    assert calls == [event_name]


@pytest.mark.parametrize(
    ("attribute", "value", "is_checked_out"), [("_recycle", -1, True), ("_pre_ping", True, False)]
)
async def test_options_of_pool_apply_to_fast_path(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    attribute: str,
    value: Any,
    is_checked_out: bool,
) -> None:
    """The pool may have no maximum age of connections, or send a ping at each checkout."""
    await database.reads.execute(sa.select(sa.literal(1)))
    pool = database.engine.sync_engine.pool
    assert isinstance(pool, ConnectionPool)
    monkeypatch.setattr(pool, attribute, value)
    pool_entry = pool.check_out_idle()
    assert (pool_entry is not None) is is_checked_out
    if pool_entry is not None:
        pool.put_back(pool_entry)
