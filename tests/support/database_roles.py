"""A Postgres server with the roles of deploy/, which own, use and read the database."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import asyncpg

from app import embedded
from app.embedded.postgresql import Postgres
from tests.support import servers
from tests.support.processes import PROJECT_ROOT

DATABASE: Final = "bookshelf"
OWNER: Final = "bookshelf_owner"
APP: Final = "bookshelf_app"
REPORTS: Final = "bookshelf_reports"
# A role such as that of managed services: it creates roles and databases, but is not a superuser.
ADMIN: Final = "cloud_admin"
ROLES_FILE: Final = PROJECT_ROOT / "deploy" / "roles.sql"
REPORTING_ROLE_FILE: Final = PROJECT_ROOT / "deploy" / "reporting_role.sql"
# Statements that would let an attacker who can execute SQL as the service do more than it does.
FORBIDDEN_STATEMENTS: Final = {
    "create a table": "CREATE TABLE new (id int)",
    "create a function": "CREATE FUNCTION new() RETURNS int LANGUAGE sql RETURN 1",
    "create a schema": "CREATE SCHEMA new",
    "create a role": "CREATE ROLE new",
    "create an extension": "CREATE EXTENSION vector",
    "add a column": "ALTER TABLE users ADD COLUMN new int",
    "drop a table": "DROP TABLE books",
    "drop a column": "ALTER TABLE users DROP COLUMN password_hash",
    "empty a table": "TRUNCATE authors CASCADE",
    "drop a trigger": "DROP TRIGGER {trigger} ON users",
    "disable a trigger": "ALTER TABLE users DISABLE TRIGGER {trigger}",
    "create a trigger": (
        "CREATE TRIGGER new BEFORE INSERT ON users"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    ),
    "disable all triggers": "SET session_replication_role = replica",
    "replace a function": (
        "CREATE OR REPLACE FUNCTION fold_case(text) RETURNS text LANGUAGE sql RETURN $1"
    ),
    "change the revision": "UPDATE alembic_version SET version_num = '0001'",
    "delete the revision": "DELETE FROM alembic_version",
    "insert a revision": "INSERT INTO alembic_version VALUES ('9999')",
    "change the next id": "SELECT setval('users_id_seq', 1)",
    "become the owner": f"SET ROLE {OWNER}",
    "read passwords of roles": "SELECT * FROM pg_authid",
    "read a file of the server": "SELECT pg_read_file('PG_VERSION')",
    "run a program on the server": "COPY authors (name) FROM PROGRAM 'echo x'",
    "write a file on the server": "COPY authors TO '/tmp/authors'",
}


class RolesServer:
    """A Postgres server with one database and the role ADMIN, who owns the database."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    def url(self, role: str, database: str = DATABASE) -> str:
        """Return the URL with which a role connects to a database."""
        return self._postgres.url(database).replace("postgres@", f"{role}@", 1)

    @asynccontextmanager
    async def connection(
        self, role: str, database: str = DATABASE
    ) -> AsyncIterator[asyncpg.Connection]:
        """Connect to a database as a role until the block ends."""
        connection = await asyncpg.connect(self.url(role, database))
        try:
            yield connection
        finally:
            await connection.close()

    async def create_database(self, name: str, owner: str) -> None:
        """Create an empty database that a role owns."""
        async with self.connection("postgres", "postgres") as connection:
            await connection.execute(
                f"CREATE DATABASE {name} OWNER {owner} TEMPLATE template0 {servers.LOCALE_OPTIONS}"
            )

    async def run_file(self, file: Path, role: str, database: str = DATABASE) -> None:
        """Run the SQL of a file in a database as a role."""
        async with self.connection(role, database) as connection:
            await connection.execute(file.read_text())


@contextmanager
def running_roles_server(directory: Path) -> Iterator[RolesServer]:
    """Run a Postgres server without roles of the service, until the block ends.

    The roles of a server belong to all its databases, so the server of the other tests cannot be
    used.
    """
    with embedded.run_postgres(directory, servers.SETTINGS_WITHOUT_DURABILITY) as postgres:
        yield RolesServer(postgres)
