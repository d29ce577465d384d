"""Requests that arrive at the same time, whose tokens one statement looks up."""

import asyncio

import pytest
from httpx import AsyncClient

from app.core.db import Database
from app.tokens import secret
from tests.support.accounts import bearer_headers
from tests.support.callers import CALLER_ROLES, TOKEN_IDS, TOKENS, USER_IDS, add_callers
from tests.support.problems import check_problem
from tests.support.statements import observe_session_statements, wait_for_statement_callbacks


@pytest.fixture(autouse=True)
async def callers(database: Database) -> None:
    await add_callers(database)


async def read_account(client: AsyncClient, token: str) -> tuple[int, int | None]:
    """Return the status of `GET /users/me`, and the id of the user."""
    response = await client.get("/users/me", headers=bearer_headers(token))
    return response.status_code, response.json().get("id")


async def test_each_of_several_concurrent_requests_has_the_user_of_its_token(
    client: AsyncClient, database: Database
) -> None:
    statements: list[str] = []
    tokens: dict[str, tuple[int, int | None]] = {
        **{TOKENS[name]: (200, USER_IDS[name]) for name in CALLER_ROLES},
        TOKENS["expired"]: (401, None),
        secret.generate_token(): (401, None),
    }
    requests = list(tokens) * 3
    # Open the connections, so that no request waits for one.
    await asyncio.gather(*(read_account(client, token) for token in requests))
    with observe_session_statements(database, lambda sql, _: statements.append(sql)):
        results = await asyncio.gather(*(read_account(client, token) for token in requests))
        await wait_for_statement_callbacks()
    assert results == [tokens[token] for token in requests]
    lookups = [sql for sql in statements if sql.startswith("SELECT tokens.digest")]
    assert 1 <= len(lookups) < len(requests) / 2


async def test_no_request_after_the_revocation_of_its_token_is_accepted(
    client: AsyncClient,
) -> None:
    """Other requests with the same token are being looked up all the time."""
    headers = bearer_headers(TOKENS["owner"])
    is_revoked = False

    async def read_until_revoked() -> None:
        while True:
            must_fail = is_revoked
            status, _ = await read_account(client, TOKENS["owner"])
            assert status == 401 or not must_fail
            if status == 401:
                return

    readers = [asyncio.create_task(read_until_revoked()) for _ in range(10)]
    await read_account(client, TOKENS["owner"])
    response = await client.delete(f"/tokens/{TOKEN_IDS['owner']}", headers=headers)
    assert response.status_code == 204
    is_revoked = True
    check_problem(await client.get("/users/me", headers=headers), 401, "unauthorized")
    await asyncio.gather(*readers)
