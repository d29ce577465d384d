"""Tests of deploy/roles.sql: the service works with a role that does not own its tables."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from httpx import AsyncClient

from app.core.db import Database
from app.worker import JOBS
from tests.support import commands
from tests.support.access_table import Operation, parse_operations
from tests.support.accounts import PASSWORD_HASH, bearer_headers
from tests.support.callers import TOKENS, add_callers, add_resources
from tests.support.database_roles import (
    ADMIN,
    APP,
    FORBIDDEN_STATEMENTS,
    OWNER,
    REPORTING_ROLE_FILE,
    REPORTS,
    ROLES_FILE,
    RolesServer,
    running_roles_server,
)
from tests.support.factories import make_document
from tests.support.processes import PROJECT_ROOT, running_server
from tests.support.settings import make_settings
from tests.support.upgrades import upgrade_schema

# The names and privileges of all tables and sequences.
SELECT_PRIVILEGES = """
SELECT relname, relacl::text FROM pg_class
WHERE relkind IN ('r', 'S') AND relnamespace = 'public'::regnamespace ORDER BY relname
"""
BOOK_LINES = "author,title\nHomer,Iliad\nHomer,Odyssey\n"


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RolesServer]:
    """A server whose database an owner has migrated twice, and that has the role of reports."""
    with running_roles_server(tmp_path_factory.mktemp("roles")) as server:
        async with server.connection("postgres", "postgres") as connection:
            await connection.execute(f"CREATE ROLE {ADMIN} LOGIN CREATEROLE")
        await server.create_database("bookshelf", ADMIN)
        await server.run_file(ROLES_FILE, ADMIN)
        # The second upgrade creates tables after the privileges were granted, like a new release.
        for revision in ("0001", "head"):
            await upgrade_schema(server.url(OWNER), revision)
        await server.run_file(REPORTING_ROLE_FILE, ADMIN)
        yield server


@pytest.fixture(scope="module")
async def users_trigger(server: RolesServer) -> str:
    """The name of a trigger of the table `users`."""
    async with server.connection(OWNER) as connection:
        trigger: str = await connection.fetchval(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = 'users'::regclass AND NOT tgisinternal"
        )
    return trigger


def read_reassignment() -> str:
    """Return the statements for an existing installation from the page about databases."""
    page = (PROJECT_ROOT / "docs" / "operations" / "database.md").read_text()
    [statements] = re.findall(r"```sql\n([^`]*REASSIGN OWNED[^`]*)```", page)
    return str(statements)


def deletions_last(operation: Operation) -> tuple[bool, bool, str]:
    """Return a sort key: operations that delete what others need come last.

    `/users/{id}` deletes the documents and tokens of the user, and is the last path.
    """
    is_deletion = operation.method == "delete"
    return is_deletion, operation.path_template == "/tokens/current", operation.path_template


@pytest.mark.slow
async def test_server_and_worker_need_no_more_privileges_than_roles_file_grants(
    server: RolesServer,
) -> None:
    database = Database(make_settings(server.url(APP)))
    await add_callers(database, PASSWORD_HASH)
    await add_resources(database, "owner")
    await database.close()
    environment = {
        "DATABASE_URL": server.url(APP),
        "REPORTING_DATABASE_URL": server.url(REPORTS),
        "APP_ENV": "test",
        "S3_PREFIX": "roles/",
    }
    async with (
        running_server("--worker", **environment) as (process, origin),
        # This token belongs to an admin. `delete_token` deletes another one.
        AsyncClient(base_url=origin, headers=bearer_headers(TOKENS["revoked"])) as client,
    ):
        assert (await client.get("/readyz")).status_code == 200
        document = await make_document(client, content=b"content")
        assert document["size"] == len(b"content")
        for _ in range(2):
            response = await client.post(
                "/authors", json={"name": "Homer"}, headers={"Idempotency-Key": "roles"}
            )
            assert response.status_code == 201
        openapi = (await client.get("/openapi.json")).json()
        for operation in sorted(parse_operations(openapi), key=deletions_last):
            # This deletes the same row as `DELETE /authors/{id}`, with the same privileges.
            if operation.path_template.endswith("/deletions"):
                continue
            # Tokens belong to the caller, because nobody may delete those of others.
            owner = "admin" if operation.path_template.startswith("/tokens") else "owner"
            response = await operation.send(client, {}, owner)
            assert response.status_code == operation.success_status, (operation, response.text)
        process.terminate()
        output, _ = await process.communicate()
    assert b"Traceback" not in output
    assert b"permission denied" not in output


@pytest.mark.parametrize("job_name", [job.name for job in JOBS])
async def test_job_runs_with_the_role_of_the_service(server: RolesServer, job_name: str) -> None:
    # With the prefix of other tests, the audit would report their objects as unknown.
    result = await commands.invoke_command(
        "jobs", "run", job_name, DATABASE_URL=server.url(APP), S3_PREFIX="roles/"
    )
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize(
    "words",
    [
        ("seed",),
        ("import", "books", "books.csv"),
        ("export", "books", "-"),
        ("jobs", "list"),
        ("migrate",),
    ],
    ids=" ".join,
)
async def test_command_works_with_the_role_of_the_service(
    server: RolesServer, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "books.csv").write_text(BOOK_LINES)
    result = await commands.invoke_command(*words, DATABASE_URL=server.url(APP))
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("action", FORBIDDEN_STATEMENTS)
async def test_role_of_the_service_cannot(
    server: RolesServer, users_trigger: str, action: str
) -> None:
    statement = FORBIDDEN_STATEMENTS[action].replace("{trigger}", users_trigger)
    async with server.connection(APP) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


async def test_new_table_of_a_later_migration_needs_no_grant(server: RolesServer) -> None:
    async with server.connection(OWNER) as connection:
        await connection.execute(
            "CREATE TABLE later (id serial PRIMARY KEY, author_id uuid REFERENCES authors)"
        )
    async with server.connection(APP) as connection:
        row_id = await connection.fetchval("INSERT INTO later DEFAULT VALUES RETURNING id")
        await connection.execute("UPDATE later SET author_id = NULL")
        await connection.execute("DELETE FROM later WHERE id = $1", row_id)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("TRUNCATE later")
    async with server.connection(OWNER) as connection:
        await connection.execute("DROP TABLE later")


async def test_role_of_reports_reads_only_reports(server: RolesServer) -> None:
    async with server.connection(REPORTS) as connection:
        await connection.fetch("SELECT * FROM user_counts")
        for statement in ("SELECT password_hash FROM users", "SELECT * FROM alembic_version"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(statement)
        # The default is not a protection, because every session may change it.
        await connection.execute("SET default_transaction_read_only = off")
        for statement in ("DELETE FROM user_counts", "CREATE TEMPORARY TABLE new (id int)"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


async def test_migration_with_the_role_of_the_service_fails_with_one_line(
    server: RolesServer,
) -> None:
    await server.create_database("not_migrated", ADMIN)
    await server.run_file(ROLES_FILE, ADMIN, "not_migrated")
    code, output = await commands.exit_code_and_output(
        "migrate", DATABASE_URL=server.url(APP, "not_migrated")
    )
    assert code == 1
    assert "permission denied for schema public" in output
    assert output.count("\n") == 1


async def test_tables_of_an_existing_installation_get_the_same_privileges(
    server: RolesServer,
) -> None:
    async with server.connection("postgres") as connection:
        await connection.execute("CREATE ROLE bookshelf LOGIN")
    await server.create_database("existing", "bookshelf")
    await upgrade_schema(server.url("bookshelf", "existing"))
    async with server.connection("postgres", "existing") as connection:
        # The role exists already on this server.
        await connection.execute(read_reassignment().replace(f"CREATE ROLE {OWNER} LOGIN;", ""))
    # Servers that are still running as the previous owner keep working.
    async with server.connection("bookshelf", "existing") as connection:
        await connection.execute("DELETE FROM authors")
    for _ in range(2):
        await server.run_file(ROLES_FILE, "postgres", "existing")

    async with server.connection(OWNER) as connection:
        expected_rows = await connection.fetch(SELECT_PRIVILEGES)
    async with server.connection(OWNER, "existing") as connection:
        rows = await connection.fetch(SELECT_PRIVILEGES)
    without_reports = [
        (name, privileges.replace(f",{REPORTS}=r/{OWNER}", ""))
        for name, privileges in expected_rows
    ]
    assert [tuple(row) for row in rows] == without_reports
    await upgrade_schema(server.url(OWNER, "existing"))
