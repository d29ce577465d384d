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
    PUBLIC_OPERATIONS,
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
from tests.support.settings import make_settings

PROBLEM_TYPES = {401: "unauthorized", 403: "forbidden", 404: "not-found"}
# The WWW-Authenticate header of the response to a request with a token.
CHALLENGES = {401: INVALID_TOKEN_CHALLENGE, 403: INSUFFICIENT_SCOPE_CHALLENGE, 404: None}
SECURITY_SCHEME = "password"
# All rows of all tables, to check that a request has changed nothing.
SELECT_ALL_ROWS = " UNION ALL ".join(
    f"SELECT '{table.__tablename__} ' || t::text AS row FROM {table.__tablename__} t"
    for table in TABLES
)
Operations = dict[str, Operation]

every_anonymous_access = pytest.mark.parametrize("anonymous_access", ANONYMOUS_CALLERS)


def every_cell(*, allowed: bool) -> pytest.MarkDecorator:
    """Parametrize a test with the operations and callers whose request is allowed or refused."""
    cells = []
    for operation_id in OPERATION_IDS:
        for caller in CALLERS:
            is_allowed = EXPECTED_STATUSES[operation_id][caller] == OK
            if is_allowed == allowed:
                cells.append((operation_id, caller))
    return pytest.mark.parametrize(("operation_id", "caller"), cells)


@pytest.fixture(scope="session")
def password_hash(password_hasher: PasswordHasher) -> str:
    return asyncio.run(password_hasher.hash(SecretStr(PASSWORD)))


@pytest.fixture(scope="module")
async def callers_and_resources(
    shared_database: Database, cleaner: Cleaner, password_hash: str
) -> AsyncIterator[Database]:
    """The shared database with all callers and the resources of the owner.

    The rows are inserted once, because hundreds of tests need them.
    """
    await add_callers(shared_database, password_hash)
    await add_resources(shared_database, "owner")
    async with cleaner.snapshot():
        yield shared_database
    await cleaner.delete_all_rows()


@pytest.fixture
async def database(callers_and_resources: Database, cleaner: Cleaner) -> AsyncIterator[Database]:
    yield callers_and_resources
    await callers_and_resources.wait_for_callbacks()
    await cleaner.restore()


@pytest.fixture(scope="module")
def openapi_documents(template_url: str) -> dict[str, Json]:
    """The OpenAPI document for each value of ANONYMOUS_ACCESS."""
    return {
        anonymous_access: create_app(
            make_settings(template_url, anonymous_access=anonymous_access)
        ).openapi()
        for anonymous_access in ANONYMOUS_CALLERS
    }


@pytest.fixture(scope="module")
def operations(openapi_documents: dict[str, Json]) -> Operations:
    return {
        operation.operation_id: operation
        for operation in parse_operations(openapi_documents["none"])
    }


async def authorization_headers(client: AsyncClient, caller: str) -> dict[str, str]:
    """Return the Authorization header of a caller, or no header for an anonymous caller."""
    if caller in ANONYMOUS_CALLERS:
        return {}
    if caller == "malformed":
        return bearer_headers(change_hex_digit(TOKENS["admin"]))
    if caller == "revoked":
        response = await client.delete("/tokens/current", headers=bearer_headers(TOKENS["revoked"]))
        assert response.status_code == 204
    return bearer_headers(TOKENS[caller])


# The access table


def test_access_table_contains_every_operation(operations: Operations) -> None:
    missing = sorted(set(operations) - set(OPERATION_IDS))
    assert not missing, (
        f"No test covers who may call {', '.join(missing)}: add an entry for the entity to "
        "tests/support/entities.py, or the operation to RULES of tests/support/access_table.py"
    )


def test_access_table_contains_no_unknown_or_repeated_operation(operations: Operations) -> None:
    unknown = sorted(set(OPERATION_IDS) - set(operations))
    assert not unknown, (
        f"tests/support/access_table.py names unknown operations: {', '.join(unknown)}"
    )
    assert len(OPERATION_IDS) == len(set(OPERATION_IDS))


@every_cell(allowed=True)
async def test_allowed_request_succeeds(
    client: AsyncClient, app: FastAPI, operations: Operations, operation_id: str, caller: str
) -> None:
    headers = await authorization_headers(client, caller)
    # Callers without a token are refused, so that only the token can allow the request.
    set_anonymous_access(app, caller if caller in ANONYMOUS_CALLERS else "none")
    response = await operations[operation_id].send(client, headers)
    assert response.status_code == operations[operation_id].success_status, response.text
    assert "www-authenticate" not in response.headers


@every_cell(allowed=False)
async def test_refused_request_returns_problem_and_changes_nothing(
    client: AsyncClient,
    app: FastAPI,
    database: Database,
    operations: Operations,
    operation_id: str,
    caller: str,
) -> None:
    headers, status = (
        await authorization_headers(client, caller),
        EXPECTED_STATUSES[operation_id][caller],
    )
    # Callers without a token are allowed, so that only the token can be the reason of the refusal.
    set_anonymous_access(app, caller if caller in ANONYMOUS_CALLERS else "full")
    before = sorted(await select_values(database, SELECT_ALL_ROWS))
    response = await operations[operation_id].send(client, headers)
    check_problem(response, status, PROBLEM_TYPES[status])
    challenge = CHALLENGE if caller in ANONYMOUS_CALLERS else CHALLENGES[status]
    assert response.headers.get("www-authenticate") == challenge
    assert sorted(await select_values(database, SELECT_ALL_ROWS)) == before


@pytest.mark.parametrize("operation_id", OWNER_OPERATIONS)
@pytest.mark.parametrize("caller", ["editor", "admin"])
async def test_editor_and_admin_may_do_with_their_own_rows_what_a_member_may(
    client: AsyncClient, database: Database, operations: Operations, operation_id: str, caller: str
) -> None:
    await execute(database, "UPDATE documents SET owner_id = :owner", {"owner": USER_IDS[caller]})
    response = await operations[operation_id].send(
        client, bearer_headers(TOKENS[caller]), owner=caller
    )
    assert response.status_code == operations[operation_id].success_status, response.text


@pytest.mark.parametrize("operation_id", OWNER_OPERATIONS)
async def test_resource_of_another_user_is_answered_like_an_unknown_one(
    client: AsyncClient, database: Database, operations: Operations, operation_id: str
) -> None:
    headers = bearer_headers(TOKENS["stranger"]) | {"X-Request-ID": "the-same"}
    response = await operations[operation_id].send(client, headers)
    await execute(database, "DELETE FROM users WHERE id = :owner", {"owner": USER_IDS["owner"]})
    unknown_response = await operations[operation_id].send(client, headers)
    assert (response.status_code, response.headers) == (404, unknown_response.headers)
    assert response.content == unknown_response.content


# The scope of the token


@pytest.mark.parametrize("scope", ["read", "write"])
async def test_token_without_the_required_scope_is_refused_and_changes_nothing(
    client: AsyncClient, app: FastAPI, database: Database, operations: Operations, scope: str
) -> None:
    # Callers without a token are allowed, so that only the token can be the reason of the refusal.
    set_anonymous_access(app, "full")
    await execute(database, "UPDATE tokens SET scope = :scope", {"scope": scope})
    before = sorted(await select_values(database, SELECT_ALL_ROWS))
    refused_operations = [
        operation
        for operation in operations.values()
        if operation.operation_id not in PUBLIC_OPERATIONS
        and operation.token_scope not in {None, scope}
    ]
    assert len(refused_operations) > 10
    for operation in refused_operations:
        response = await operation.send(client, bearer_headers(TOKENS["admin"]), owner="admin")
        check_problem(response, 403, "forbidden")
        challenge = f'{INSUFFICIENT_SCOPE_CHALLENGE}, scope="{operation.token_scope}"'
        assert response.headers["www-authenticate"] == challenge
    assert sorted(await select_values(database, SELECT_ALL_ROWS)) == before


@pytest.mark.parametrize("operation_id", sorted(set(OPERATION_IDS) - PUBLIC_OPERATIONS))
async def test_token_with_only_the_required_scope_is_accepted(
    client: AsyncClient, database: Database, operations: Operations, operation_id: str
) -> None:
    operation = operations[operation_id]
    scope = operation.token_scope or "read"
    await execute(database, "UPDATE tokens SET scope = :scope", {"scope": scope})
    response = await operation.send(client, bearer_headers(TOKENS["admin"]), owner="admin")
    assert response.status_code == operation.success_status, response.text


# Routes


def test_router_refuses_an_endpoint_without_a_permission() -> None:
    with pytest.raises(TypeError, match="permission"):
        Router(tags=["reports"]).get("/reports")  # type: ignore[call-arg]


def test_all_routes_are_in_the_document_except_pages_for_browsers(application: FastAPI) -> None:
    other_paths = {
        getattr(route, "path", "")
        for route in application.routes
        if not isinstance(route, APIRoute)
    }
    pages = {"/docs", "/openapi.json", "/static-offline-docs"}
    files = {"/favicon.ico", "/favicon.svg", "/robots.txt"}
    assert other_paths == pages | files
    assert all(
        route.include_in_schema for route in application.routes if isinstance(route, APIRoute)
    )


# The OpenAPI document


@every_anonymous_access
def test_document_states_which_operations_need_a_token(
    openapi_documents: dict[str, Json], anonymous_access: str
) -> None:
    for operation in parse_operations(openapi_documents[anonymous_access]):
        if operation.operation_id in PUBLIC_OPERATIONS:
            assert operation.security == []
            continue
        expected_security: list[Json] = [{SECURITY_SCHEME: []}]
        if operation.token_scope is not None:
            expected_security = [{SECURITY_SCHEME: [operation.token_scope]}]
        if EXPECTED_STATUSES[operation.operation_id][anonymous_access] == OK:
            expected_security.insert(0, {})
        assert operation.security == expected_security, operation.operation_id


@every_anonymous_access
@pytest.mark.parametrize("status", [401, 403])
def test_document_lists_401_and_403_exactly_where_they_can_occur(
    openapi_documents: dict[str, Json], anonymous_access: str, status: int
) -> None:
    other_settings = set(ANONYMOUS_CALLERS) - {anonymous_access}
    possible = {
        name
        for name, cells in EXPECTED_STATUSES.items()
        if status in {cells[caller] for caller in CALLERS if caller not in other_settings}
    }
    described_operations = parse_operations(openapi_documents[anonymous_access])
    listed = {
        operation.operation_id
        for operation in described_operations
        if PROBLEM_TYPES[status] in operation.list_problem_types(status)
    }
    assert listed == possible | OTHER_REASONS[status]


@pytest.mark.parametrize("status", [401, 403])
def test_document_describes_401_and_403_responses(operations: Operations, status: int) -> None:
    for operation in operations.values():
        other_types = set(operation.list_problem_types(status)) - {PROBLEM_TYPES[status]}
        assert other_types <= {"origin-not-allowed"}
        if PROBLEM_TYPES[status] in operation.list_problem_types(status):
            assert "WWW-Authenticate" in operation.responses[str(status)]["headers"]


def test_document_lists_that_pages_of_other_origins_may_not_write(operations: Operations) -> None:
    for operation in operations.values():
        is_listed = "origin-not-allowed" in operation.list_problem_types(403)
        assert is_listed == (operation.method != "get")


def test_document_contains_the_login_url(
    openapi_documents: dict[str, Json], operations: Operations
) -> None:
    schemes = openapi_documents["none"]["components"]["securitySchemes"]
    assert list(schemes) == [SECURITY_SCHEME]
    flow = schemes[SECURITY_SCHEME]["flows"]["password"]
    assert list(flow["scopes"]) == ["read", "write"]
    token_url = flow["tokenUrl"]
    assert urljoin("/openapi.json", token_url) == operations["create_token"].path_template
