"""A search must not read the table, whatever the planner believes of the word."""

from typing import Any

import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.support.responses import get_json
from tests.support.statements import observe_session_statements

# Where every word is another one, the planner believes of any that 2 % of the rows have it.
UNIQUE_WORDS = """
INSERT INTO authors (id, name, created_at)
SELECT gen_random_uuid(), md5(n::text) || CASE n % 20000 WHEN 0 THEN ' scarce' ELSE '' END,
    timestamptz '2020-01-01Z' + n * interval '1 minute'
FROM generate_series(1, 100000) n
"""


@pytest.mark.private_database
async def test_a_word_of_few_rows_is_not_looked_for_along_the_order(
    client: AsyncClient, database: Database
) -> None:
    async with database.engine.connect() as connection:
        await connection.exec_driver_sql("SET statement_timeout = 0")  # on a busy machine
        await connection.exec_driver_sql(UNIQUE_WORDS)
        await connection.exec_driver_sql("RESET statement_timeout")
        await connection.exec_driver_sql("VACUUM ANALYZE authors")  # as autovacuum does
    sent: list[tuple[str, Any]] = []

    with observe_session_statements(database, lambda *given: sent.append(given)):
        assert len((await get_json(client, "/authors?q=scarce"))["items"]) == 5
    [(statement, parameters)] = sent
    async with database.engine.connect() as connection:
        explained = await connection.exec_driver_sql(f"EXPLAIN ANALYZE {statement}", parameters)
        plan = "\n".join(explained.scalars())
    assert "Rows Removed by Filter" not in plan, plan
