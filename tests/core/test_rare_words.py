"""A search for a rare word reads the index on words, although the planner overestimates it."""

from typing import Any

import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.support.responses import get_json
from tests.support.statements import observe_session_statements

# If all words of a table are different, the planner assumes that each is in 2 % of the rows.
INSERT_UNIQUE_WORDS = """
INSERT INTO authors (id, name, created_at)
SELECT gen_random_uuid(), md5(n::text) || CASE n % 20000 WHEN 0 THEN ' scarce' ELSE '' END,
    timestamptz '2020-01-01Z' + n * interval '1 minute'
FROM generate_series(1, 100000) n
"""


@pytest.mark.private_database
async def test_search_for_rare_word_does_not_scan_rows_in_sort_order(
    client: AsyncClient, database: Database
) -> None:
    async with database.engine.connect() as connection:
        # The INSERT takes longer than the timeout on a busy machine.
        await connection.exec_driver_sql("SET statement_timeout = 0")
        await connection.exec_driver_sql(INSERT_UNIQUE_WORDS)
        await connection.exec_driver_sql("RESET statement_timeout")
        # Autovacuum does the same in production.
        await connection.exec_driver_sql("VACUUM ANALYZE authors")
    sent_statements: list[tuple[str, Any]] = []

    def append_statement(statement: str, parameters: Any) -> None:
        sent_statements.append((statement, parameters))

    with observe_session_statements(database, append_statement):
        page = await get_json(client, "/authors?q=scarce")
    assert len(page["items"]) == 5
    [(statement, parameters)] = sent_statements
    async with database.engine.connect() as connection:
        result = await connection.exec_driver_sql(f"EXPLAIN ANALYZE {statement}", parameters)
        plan = "\n".join(result.scalars())
    assert "Rows Removed by Filter" not in plan, plan
