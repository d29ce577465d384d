"""The query plan of the token lookup in large tables; see `core/test_plans`."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.core.db import Database
from app.tokens import secret
from app.tokens.service import PrincipalFinder
from tests.support import servers
from tests.support.query_plans import explain
from tests.support.statements import observe_session_statements, wait_for_statement_callbacks

pytestmark = pytest.mark.private_database

_INSERT_ROWS = """
INSERT INTO users (name, email, password_hash)
SELECT 'n', 'e' || n || '@example.com', 'x' FROM generate_series(1, 3000) n;

INSERT INTO tokens (id, user_id, name, digest, expires_at)
SELECT gen_random_uuid(), 1 + n % 3000, 'n', sha256(n::text::bytea),
    now() + (n % 100) * interval '1 hour'
FROM generate_series(1, 10000) n;
"""


@pytest.fixture
async def private_database_url(template_url: str) -> AsyncIterator[str]:
    async with servers.copy_with_rows(template_url, _INSERT_ROWS) as url:
        yield url


async def test_token_lookup_is_one_statement_that_uses_two_unique_indexes(
    database: Database,
) -> None:
    statements: list[tuple[str, Any]] = []

    def record_statement(statement: str, parameters: Any) -> None:
        statements.append((statement, parameters))

    with observe_session_statements(database, record_statement):
        assert await PrincipalFinder(database).find(secret.generate_token()) is None
        await wait_for_statement_callbacks()
    [(statement, parameters)] = statements
    plan = await explain(database, statement, parameters)
    for index in ("uq_tokens_digest", "pk_users"):
        assert f"'Index Name': '{index}'" in str(plan)
    assert "Seq Scan" not in str(plan)
