"""Permissions: the status of every operation for every kind of caller."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urljoin

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from httpx import AsyncClient
from pydantic import SecretStr

from app.core.db import Database
from app.core.http import Router
from app.main import create_app
from app.tables import TABLES
from app.users.passwords import PasswordHasher
from tests.conftest import make_settings
from tests.support.access_table import (
    ANONYMOUS_CALLERS,
    CALLERS,
    CHALLENGE,
    EXPECTED_STATUSES,
    INSUFFICIENT_SCOPE_CHALLENGE,
    INVALID_TOKEN_CHALLENGE,
    OK,
    OPERATION_IDS,
    OTHER_REASONS,
    OWNER_OPERATIONS,
    Operation,
    parse_operations,
)
from tests.support.accounts import bearer_headers
from tests.support.callers import (
    PASSWORD,
    TOKENS,
    USER_IDS,
    add_callers,
    add_resources,
    change_hex_digit,
    set_anonymous_access,
)
from tests.support.factories import Json
from tests.support.isolation import Cleaner
from tests.support.problems import check_problem
from tests.support.rows import execute, select_values

KINDS = {401: "unauthorized", 403: "forbidden", 404: "not-found"}
CHALLENGES = {
    401: INVALID_TOKEN_CHALLENGE,
    403: INSUFFICIENT_SCOPE_CHALLENGE,
    404: None,
}  # of a request with a token
TOKEN = {"password": list[str]()}  # what `security` says where one is needed
# Every row of every table, for what must not change.
CONTENTS = " UNION ALL ".join(
    f"SELECT '{table.__tablename__} ' || t::text AS row FROM {table.__tablename__} t"
    for table in TABLES
)
Operations = dict[str, Operation]

every_setting = pytest.mark.parametrize("anonymous", ANONYMOUS_CALLERS)


def every_cell(*, allowed: bool) -> pytest.MarkDecorator:
    """Parameters for the cells of the table in which a request is allowed, or is refused."""
    found = [(name, caller) for name in OPERATION_IDS for caller in CALLERS]
    chosen = [
        (name, caller)
        for name, caller in found
        if (EXPECTED_STATUSES[name][caller] == OK) == allowed
    ]
    return pytest.mark.parametrize(("name", "caller"), chosen)


@pytest.fixture(scope="session")
def password_hash(password_hasher: PasswordHasher) -> str:
    return asyncio.run(password_hasher.hash(SecretStr(PASSWORD)))


@pytest.fixture(scope="module")
async def world(
    shared_database: Database, cleaner: Cleaner, password_hash: str
) -> AsyncIterator[Database]:
    """Everybody and what is the owner's, written once for the hundreds of tests."""
    await add_callers(shared_database, password_hash)
    await add_resources(shared_database, "owner")
    async with cleaner.snapshot():
        yield shared_database
    await cleaner.delete_all_rows()


@pytest.fixture
async def database(world: Database, cleaner: Cleaner) -> AsyncIterator[Database]:
    yield world
    await world.wait_for_callbacks()
    await cleaner.restore()


@pytest.fixture(scope="module")
def documents(template_url: str) -> dict[str, Json]:
    """The document under each setting."""
    return {
        anonymous: create_app(make_settings(template_url, anonymous_access=anonymous)).openapi()
        for anonymous in ANONYMOUS_CALLERS
    }


@pytest.fixture(scope="module")
def operations(documents: dict[str, Json]) -> Operations:
    return {operation.operation_id: operation for operation in parse_operations(documents["none"])}


async def credentials(client: AsyncClient, caller: str) -> dict[str, str]:
    """The `Authorization` that a caller sends."""
    if caller in ANONYMOUS_CALLERS:
        return {}
    if caller == "malformed":
        return bearer_headers(change_hex_digit(TOKENS["admin"]))
    if caller == "revoked":
        response = await client.delete("/tokens/current", headers=bearer_headers(TOKENS["revoked"]))
        assert response.status_code == 204
    return bearer_headers(TOKENS[caller])


# The table


def test_the_table_knows_every_operation_of_the_document(operations: Operations) -> None:
    unknown = sorted(set(operations) - set(OPERATION_IDS))
    assert not unknown, (
        f"No test covers who may call {', '.join(unknown)}: add an entry for the entity to "
        "tests/support/entities.py, or the operation to RULES of tests/support/access_table.py"
    )


def test_the_table_knows_operations_of_the_document_only_and_each_once(
    operations: Operations,
) -> None:
    gone = sorted(set(OPERATION_IDS) - set(operations))
    assert not gone, f"tests/support/access_table.py names unknown operations: {', '.join(gone)}"
    assert len(OPERATION_IDS) == len(set(OPERATION_IDS))


@every_cell(allowed=True)
async def test_who_may_is_answered(
    client: AsyncClient, app: FastAPI, operations: Operations, name: str, caller: str
) -> None:
    headers = await credentials(client, caller)
    # Where nothing but the token can have opened it.
    set_anonymous_access(app, caller if caller in ANONYMOUS_CALLERS else "none")
    response = await operations[name].send(client, headers)
    assert response.status_code == operations[name].success_status, response.text
    assert "www-authenticate" not in response.headers


@every_cell(allowed=False)
async def test_who_may_not_is_told_why_and_changes_nothing(
    client: AsyncClient,
    app: FastAPI,
    database: Database,
    operations: Operations,
    name: str,
    caller: str,
) -> None:
    headers, status = await credentials(client, caller), EXPECTED_STATUSES[name][caller]
    # Where nothing but the token can have closed it.
    set_anonymous_access(app, caller if caller in ANONYMOUS_CALLERS else "full")
    before = sorted(await select_values(database, CONTENTS))
    response = await operations[name].send(client, headers)
    check_problem(response, status, KINDS[status])
    challenge = CHALLENGE if caller in ANONYMOUS_CALLERS else CHALLENGES[status]
    assert response.headers.get("www-authenticate") == challenge
    assert sorted(await select_values(database, CONTENTS)) == before


@pytest.mark.parametrize("name", OWNER_OPERATIONS)
@pytest.mark.parametrize("caller", ["editor", "admin"])
async def test_a_higher_role_may_with_its_own_what_a_member_may(
    client: AsyncClient, database: Database, operations: Operations, name: str, caller: str
) -> None:
    await execute(database, "UPDATE documents SET owner_id = :owner", {"owner": USER_IDS[caller]})
    response = await operations[name].send(client, bearer_headers(TOKENS[caller]), owner=caller)
    assert response.status_code == operations[name].success_status, response.text


@pytest.mark.parametrize("name", OWNER_OPERATIONS)
async def test_what_is_somebody_elses_is_answered_as_what_nobody_has(
    client: AsyncClient, database: Database, operations: Operations, name: str
) -> None:
    headers = bearer_headers(TOKENS["stranger"]) | {"X-Request-ID": "the-same"}
    theirs = await operations[name].send(client, headers)
    await execute(database, "DELETE FROM users WHERE id = :owner", {"owner": USER_IDS["owner"]})
    nobodys = await operations[name].send(client, headers)
    assert (theirs.status_code, theirs.headers) == (404, nobodys.headers)
    assert theirs.content == nobodys.content


# What a route says


def test_router_refuses_an_endpoint_without_a_permission() -> None:
    with pytest.raises(TypeError, match="permission"):
        Router(tags=["reports"]).get("/reports")  # type: ignore[call-arg]


def test_only_pages_for_people_are_no_such_routes_and_no_route_is_hidden(
    application: FastAPI,
) -> None:
    others = {getattr(r, "path", "") for r in application.routes if not isinstance(r, APIRoute)}
    pages = {"/", "/docs", "/openapi.json", "/static-offline-docs"}
    assert others == pages
    assert all(r.include_in_schema for r in application.routes if isinstance(r, APIRoute))


# The document


@every_setting
def test_the_document_says_where_a_token_is_needed(
    documents: dict[str, Json], anonymous: str
) -> None:
    declared = {
        found.operation_id: found.security for found in parse_operations(documents[anonymous])
    }
    needed = {
        name: [{}, TOKEN] if cells[anonymous] == OK else [TOKEN]
        for name, cells in EXPECTED_STATUSES.items()
        if cells["malformed"] != OK  # there nobody looks at one
    }
    assert declared == dict.fromkeys(EXPECTED_STATUSES) | needed


@every_setting
@pytest.mark.parametrize("status", [401, 403])
def test_the_document_lists_a_refusal_exactly_where_it_can_occur(
    documents: dict[str, Json], anonymous: str, status: int
) -> None:
    others = set(ANONYMOUS_CALLERS) - {anonymous}
    possible = {
        name
        for name, cells in EXPECTED_STATUSES.items()
        if status in {cells[caller] for caller in CALLERS if caller not in others}
    }
    found = parse_operations(documents[anonymous])
    listed = {operation.operation_id for operation in found if str(status) in operation.responses}
    assert listed == possible | OTHER_REASONS[status]


@pytest.mark.parametrize("status", [401, 403])
def test_the_document_says_what_a_refusal_is(operations: Operations, status: int) -> None:
    for operation in operations.values():
        if response := operation.responses.get(str(status)):
            schema = response["content"]["application/problem+json"]["schema"]
            kinds = schema["properties"]["type"]["enum"]
            assert kinds == [f"urn:problem-type:bookshelf:{KINDS[status]}"]
            assert "WWW-Authenticate" in response["headers"]


def test_the_document_says_where_to_log_in(
    documents: dict[str, Json], operations: Operations
) -> None:
    schemes = documents["none"]["components"]["securitySchemes"]
    assert list(schemes) == list(TOKEN)
    place = schemes["password"]["flows"]["password"]["tokenUrl"]
    assert urljoin("/openapi.json", place) == operations["create_token"].path_template
