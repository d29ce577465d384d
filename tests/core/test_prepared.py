"""Statements that the driver runs by itself: what it is given, and what it is not left to."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from app.core.db import Database, Prepared

NUMBER = sa.bindparam("number", type_=sa.Integer)


async def test_what_has_one_name_is_sent_once_and_what_has_none_is_in_the_statement(
    database: Database,
) -> None:
    ago = sa.func.now() - sa.literal(timedelta(hours=1))
    double, more = (NUMBER + NUMBER).label("double"), (NUMBER + 5).label("more")
    chosen: Any = sa.select(double, more, (ago < sa.func.now()).label("past"))
    statement = Prepared(chosen)
    assert sorted(map(str, statement.arguments({"number": 2}))) == ["1:00:00", "2", "5"]
    [row] = await database.reads.fetch(statement, {"number": 2})
    assert dict(row) == {"double": 4, "more": 7, "past": True}


async def test_a_value_that_the_driver_does_not_convert_is_converted(database: Database) -> None:
    given: Any = sa.bindparam("given", type_=JSONB)
    statement = Prepared(sa.select(sa.func.jsonb_typeof(given).label("kind")))
    [row] = await database.reads.fetch(statement, {"given": {"a": [1]}})
    assert dict(row) == {"kind": "object"}


def test_a_parameter_that_is_missing_is_a_mistake_and_not_null() -> None:
    with pytest.raises(KeyError, match="number"):
        Prepared(sa.select(NUMBER)).arguments({})


def test_a_column_that_the_driver_would_not_convert_is_refused() -> None:
    shelf = sa.column("shelf", sa.Enum("upper", "lower"))
    with pytest.raises(TypeError, match=r"shelf: .*Enum"):
        _ = Prepared(sa.select(shelf)).sql


async def test_it_is_the_same_in_a_transaction(database: Database) -> None:
    statement = Prepared(sa.select((NUMBER + 1).label("next")))
    alone = await database.writes.fetch(statement, {"number": 1})
    async with database.session() as session:
        together = await session.fetch(statement, {"number": 1})
    assert [dict(row) for row in alone] == [dict(row) for row in together] == [{"next": 2}]
