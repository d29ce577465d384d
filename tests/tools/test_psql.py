"""Tests of `make psql`, which opens the development database."""

from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.support import postgres_server
from tests.support.processes import CommandResult, spawn_command, wait_for_result
from tools.psql import STARTED_POSTGRES, connection_variables

TABLES = ("-c", "\\dt")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "data with spaces"
    directory.mkdir()
    return postgres_server.create_migrated_data_dir(directory)


async def psql(*words: str, **environment: str) -> CommandResult:
    # Without the working directory in its path, Python does not take this package for `tools`.
    variables = {"PYTHONSAFEPATH": "1", **environment}
    return await wait_for_result(
        await spawn_command(*words, module="tools.psql", environment=variables)
    )


async def test_psql_uses_the_running_development_server(data_dir: Path) -> None:
    async with postgres_server.running_postgres(data_dir):
        code, out, err = await psql(*TABLES, DATA_DIR=str(data_dir))
        assert (code, err) == (0, "")
        assert "books" in out


async def test_psql_starts_the_development_server_if_none_runs(data_dir: Path) -> None:
    code, out, err = await psql(*TABLES, DATA_DIR=str(data_dir))
    assert (code, err) == (0, f"{STARTED_POSTGRES}\n")
    assert "books" in out
    assert not (data_dir / "postgres" / "postmaster.pid").exists()


async def test_psql_opens_database_url_and_does_not_print_its_password(
    private_database_url: str,
) -> None:
    # The embedded server accepts any password, a container only its own.
    url = make_url(private_database_url)
    password = str(url.password or "hunter2")
    address = url.set(password=password).render_as_string(hide_password=False)
    code, out, err = await psql(*TABLES, DATABASE_URL=address)
    assert (code, err) == (0, "")
    assert "books" in out
    assert password not in out + err


def test_connection_variables_contain_the_parts_of_the_url() -> None:
    url = make_url("postgresql+asyncpg://ada:hunter2@db.example:5433/books?sslmode=require")
    assert connection_variables(url) == {
        "PGUSER": "ada",
        "PGPASSWORD": "hunter2",
        "PGHOST": "db.example",
        "PGPORT": "5433",
        "PGDATABASE": "books",
        "PGSSLMODE": "require",
    }


async def test_psql_fails_without_traceback_if_database_is_unreachable() -> None:
    code, out, err = await psql(DATABASE_URL="postgresql://ada:hunter2@127.0.0.1:1/books")
    assert (code, out) == (2, "")
    assert "Connection refused" in err
    assert "Traceback" not in err
    assert "hunter2" not in err
