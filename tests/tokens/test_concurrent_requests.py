"""Requests that arrive at the same time, whose tokens one statement looks up."""

import asyncio
import gc
import json
import logging
from io import StringIO

import pytest
from httpx import AsyncClient

from app.core.db import Database
from app.core.observability import create_log_formatter
from app.core.observability._line_handler import LineHandler
from app.core.storage import Storage
from app.tokens import secret
from tests.support.accounts import bearer_headers
from tests.support.app_clients import client_with_settings
from tests.support.callers import CALLER_ROLES, TOKEN_IDS, TOKENS, USER_IDS, add_callers
from tests.support.problems import check_problem
from tests.support.settings import UNREACHABLE_DATABASE_URL, make_settings
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


async def test_each_request_of_a_lookup_that_fails_logs_the_reason_with_its_own_id(
    template_url: str, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    unreachable_database = Database(make_settings(UNREACHABLE_DATABASE_URL))
    log = StringIO()
    handler = LineHandler(log)
    handler.setFormatter(create_log_formatter("json"))
    token_log = logging.getLogger("app.tokens.service")
    token_log.addHandler(handler)
    try:
        async with client_with_settings(template_url, unreachable_database, storage) as client:
            requests = [
                client.get("/users/me", headers=bearer_headers(token)) for token in TOKENS.values()
            ]
            responses = await asyncio.gather(*requests)
    finally:
        token_log.removeHandler(handler)
        await unreachable_database.engine.dispose()
    problems = [check_problem(response, 503, "unavailable") for response in responses]
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    request_ids = {problem["request_id"] for problem in problems}
    assert len(request_ids) == len(lines) == len(TOKENS)
    assert {line["request_id"] for line in lines} == request_ids
    assert all("Connect call failed" in line["event"] for line in lines)
    # asyncio logs the errors of tasks and futures for which nobody waits.
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def test_cancelled_request_does_not_disturb_the_others_of_its_lookup(
    client: AsyncClient,
) -> None:
    names = list(CALLER_ROLES) * 2
    requests = [asyncio.create_task(read_account(client, TOKENS[name])) for name in names]
    # In each round, the requests are cancelled one iteration later.
    for delay in range(40):
        for _ in range(delay):
            await asyncio.sleep(0)
        for request in requests[::2]:
            request.cancel()
        results = await asyncio.gather(*requests, return_exceptions=True)
        assert results[1::2] == [(200, USER_IDS[name]) for name in names[1::2]]
        requests = [asyncio.create_task(read_account(client, TOKENS[name])) for name in names]
    await asyncio.gather(*requests)
