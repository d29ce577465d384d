"""Tests of the migrations: upgrade, downgrade, locks, and equality with the models."""

import asyncio
import io
import re
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from app import schema
from app.tables import REQUIRED_REVISIONS, list_required_revisions
from tests.support.commands import invoke_alembic
from tests.support.schema_descriptions import describe_schema
from tests.support.servers import sqlalchemy_url
from tests.support.settings import UNREACHABLE_DATABASE_URL
from tests.support.upgrades import ADVISORY_LOCK, downgrade_schema, upgrade_schema

# The rows of a database before revision 0004: two users, and a document with a file.
INSERT_ROWS = """
INSERT INTO users (name, email, password_hash)
SELECT name, name || '@example.com', 'x' FROM unnest(ARRAY['ada', 'grace']) name;
INSERT INTO stored_objects (id, key) VALUES (gen_random_uuid(), 'documents/1');
INSERT INTO documents (id, name, file_id, size) SELECT id, 'Thesis', id, 3 FROM stored_objects;
"""
# Fills the columns and tables that revision 0004 adds.
USE_REVISION_0004 = """
UPDATE users SET role = 'admin', password_changed_by = gen_random_uuid();
UPDATE documents SET owner_id = (SELECT min(id) FROM users);
INSERT INTO tokens (id, user_id, name, digest, expires_at)
SELECT gen_random_uuid(), id, 'laptop', id::text::bytea, now() FROM users;
"""
SELECT_ROWS = """
SELECT (to_jsonb(u) - ARRAY['role', 'password_changed_by', 'search'])::text FROM users u
UNION ALL SELECT (to_jsonb(d) - ARRAY['owner_id', 'search'])::text FROM documents d
UNION ALL SELECT (to_jsonb(o) - ARRAY['expires_at', 'completing_until', 'owner_id'])::text
FROM stored_objects o
ORDER BY 1
"""


async def read_rows(connection: asyncpg.Connection) -> list[str]:
    """Return users, documents and their files, without columns that later revisions change."""
    return [row[0] for row in await connection.fetch(SELECT_ROWS)]


async def test_all_revisions_can_be_downgraded_and_upgraded(private_database_url: str) -> None:
    before = await describe_schema(private_database_url)
    assert len(before) > 40
    await downgrade_schema(private_database_url, "base")
    remaining = [
        row for row in await describe_schema(private_database_url) if "alembic" not in row[1]
    ]
    assert remaining == []
    await upgrade_schema(private_database_url)
    assert await describe_schema(private_database_url) == before


async def test_revision_0004_keeps_users_and_documents_in_both_directions(
    private_database_url: str,
) -> None:
    connection = await asyncpg.connect(private_database_url)
    await downgrade_schema(private_database_url, "0003")
    await connection.execute(INSERT_ROWS)
    before = await read_rows(connection)
    assert len(before) == 4
    for revision in ("0004", "head"):
        await upgrade_schema(private_database_url, revision)
        assert await read_rows(connection) == before
        assert await connection.fetchval("SELECT array_agg(role) FROM users") == ["member"] * 2
        assert await connection.fetchval("SELECT count(owner_id) FROM documents") == 0
        await connection.execute(USE_REVISION_0004)
        await downgrade_schema(private_database_url, "0003")
        assert await read_rows(connection) == before
    await connection.close()


async def test_models_and_migrations_agree(private_database_url: str) -> None:
    config = schema.alembic_config(sqlalchemy_url(private_database_url))
    await asyncio.to_thread(command.check, config)


def test_all_revisions_are_required_except_contract_revisions_at_the_end() -> None:
    scripts = ScriptDirectory.from_config(schema.alembic_config()).walk_revisions()
    names = {script.revision: Path(script.path).name for script in scripts}
    required = sorted(names)
    while f"-{required[-1]}_contract_" in names[required[-1]]:
        required.pop()
    assert tuple(required) == REQUIRED_REVISIONS


def test_order_of_migration_files_by_name_is_their_order_by_down_revision() -> None:
    scripts = ScriptDirectory.from_config(schema.alembic_config()).walk_revisions()
    chain = [(script.revision, Path(script.path).name) for script in scripts]
    names = sorted((name for _, name in chain), reverse=True)
    assert [name for _, name in chain] == names
    assert all(f"-{revision}_" in name for revision, name in chain)


def test_required_revisions_end_with_last_file_and_ignore_other_files(tmp_path: Path) -> None:
    for name in (
        "2026_11_24_2230-0009_an_older_one.py",
        "2026_12_01_0000-1a2b3c_the_newest.py",
        "2026_12_01_0000-ffff_an_editors_copy.py~",
        "__init__.py",
        "zzzz-9999_of_no_date.py",
    ):
        (tmp_path / name).touch()
    assert list_required_revisions(tmp_path) == ("0009", "1a2b3c")


def test_contract_revision_is_only_required_if_a_required_one_follows(tmp_path: Path) -> None:
    names = ("0001_create", "0002_contract_a", "0003_add", "0004_contract_b", "0005_contract_c")
    for name in names:
        (tmp_path / f"2026_12_01_0000-{name}.py").touch()
    assert list_required_revisions(tmp_path) == ("0001", "0002", "0003")


def test_directory_without_migrations_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not contain a migration"):
        list_required_revisions(tmp_path)


async def test_migration_that_fails_releases_the_advisory_lock(private_database_url: str) -> None:
    connection = await asyncpg.connect(private_database_url)
    await connection.execute("CREATE VIEW titles AS SELECT title FROM books")
    with pytest.raises(DBAPIError, match="depend"):
        await downgrade_schema(private_database_url, "base")
    assert await connection.fetchval("SELECT pg_try_advisory_lock($1)", ADVISORY_LOCK)
    await connection.close()


def test_migrations_can_be_written_as_sql() -> None:
    config = schema.alembic_config()
    config.output_buffer = written = io.StringIO()
    command.upgrade(config, "head", sql=True)
    assert "SET lock_timeout" in written.getvalue()
    assert "SET statement_timeout" in written.getvalue()
    assert "CREATE TABLE books" in written.getvalue()


def test_written_sql_waits_without_limit_only_to_build_or_drop_an_index_concurrently() -> None:
    config = schema.alembic_config()
    config.output_buffer = written = io.StringIO()
    command.upgrade(config, "head", sql=True)
    timeout = ""
    for statement in written.getvalue().split(";\n\n"):
        if match := re.search(r"SET lock_timeout = '(\w+)'", statement):
            timeout = match[1]
        elif "CONCURRENTLY" in statement:
            assert timeout == "0", statement
        elif "ALTER TABLE" in statement:
            assert timeout == "500ms", statement


async def test_alembic_fails_with_one_line_without_database_url() -> None:
    for words in (["upgrade", "head"], ["revision", "--autogenerate", "-m", "create publishers"]):
        code, output = await invoke_alembic(*words)
        assert code != 0
        assert output == (
            "FAILED: There is no database to migrate: set DATABASE_URL, or use `make migrate` for"
            ' the development database and `make revision MESSAGE="..."` for a new revision.\n'
        )


async def test_alembic_fails_with_one_line_if_database_is_unreachable() -> None:
    code, output = await invoke_alembic("current", DATABASE_URL=UNREACHABLE_DATABASE_URL)
    assert code != 0
    assert output.startswith(
        "FAILED: Cannot connect to postgresql+asyncpg://somebody:***@127.0.0.1:"
    )
    assert output.count("\n") == 1


def test_alembic_history_needs_no_database_url() -> None:
    config = schema.alembic_config()
    config.stdout = io.StringIO()
    command.history(config)
    assert re.search(r"\b\w+ \(head\)", config.stdout.getvalue())
