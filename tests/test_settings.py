"""Tests of the settings and of `.env.example`."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from httpx import AsyncClient

from app.settings import Settings, describe_validation_error
from tests.support import commands, processes
from tests.support.factories import make_user
from tests.support.settings import reject_settings

EXAMPLE = Path(__file__).parents[1] / ".env.example"


def read_example() -> dict[str, str]:
    """Return the variables in `.env.example` and their values."""
    return dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))


def test_env_example_contains_every_setting_with_its_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in read_example():
        monkeypatch.delenv(name, raising=False)
    assert {name.lower() for name in read_example()} == set(Settings.model_fields)
    assert Settings(_env_file=EXAMPLE) == Settings(_env_file=None)


def test_env_example_explains_every_setting() -> None:
    lines = EXAMPLE.read_text().splitlines()
    for number, line in enumerate(lines):
        if "=" in line and not line.startswith("#"):
            assert lines[number - 1].startswith(("#", "HOST")), line


def test_message_contains_name_but_not_value_of_invalid_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PORT", "eighty")
    monkeypatch.setenv("DATABASE_URL", "mysql://root:hunter2@localhost/x")
    error = reject_settings()
    sentences = describe_validation_error(error)
    assert re.search(r"^PORT: .*integer", sentences, re.MULTILINE)
    assert "DATABASE_URL: Must be a URL such as postgresql://" in sentences
    assert "hunter2" not in sentences


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_everyone_may_write_by_default_if_only_the_developer_can_connect(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert Settings(_env_file=None, host=host).anonymous_access == "full"


@pytest.mark.parametrize(
    ("environment", "host", "database_url"),
    [
        ("test", "127.0.0.1", ""),
        ("production", "127.0.0.1", "postgresql://h/d"),
        # The database may have data of other people.
        ("development", "127.0.0.1", "postgresql://h/d"),
        # Other machines can connect.
        ("development", "0.0.0.0", ""),
        ("development", "::", ""),
        ("development", "192.168.1.7", ""),
        ("development", "books.example", ""),
    ],
)
def test_writes_need_a_token_by_default_if_others_may_be_concerned(
    environment: str, host: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"APP_ENV": environment, "HOST": host, "DATABASE_URL": database_url}
    for name, value in {**variables, "S3_BUCKET": "files", "ANONYMOUS_ACCESS": ""}.items():
        monkeypatch.setenv(name, value)
    assert Settings(_env_file=None).anonymous_access == "read"


@pytest.mark.parametrize(
    ("environment", "access"),
    [
        ("development", "none"),
        ("development", "full"),
        ("test", "full"),
        ("production", "none"),
        ("production", "read"),
    ],
)
def test_anonymous_access_can_be_set(
    environment: str, access: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"APP_ENV": environment, "HOST": "0.0.0.0", "DATABASE_URL": "postgresql://h/d"}
    for name, value in {**variables, "S3_BUCKET": "files", "ANONYMOUS_ACCESS": access}.items():
        monkeypatch.setenv(name, value)
    assert Settings(_env_file=None).anonymous_access == access


async def test_production_does_not_start_with_development_settings() -> None:
    wrong = {"APP_ENV": "production", "ANONYMOUS_ACCESS": "full", "DATABASE_URL": ""}
    output = (
        "bookshelf: invalid settings\n"
        "DATABASE_URL: Must be set in production: embedded servers are for development only\n"
        "S3_BUCKET: Must be set in production: embedded servers are for development only\n"
        "ANONYMOUS_ACCESS: Must be read or none in production, because full lets everyone change"
        " everything\n"
    )
    assert await processes.exit_code_and_output("serve", "--migrate", "--worker", **wrong) == (
        1,
        output,
    )
    no_store = {"S3_BUCKET": "", "S3_ENDPOINT_URL": ""}
    assert await commands.exit_code_and_output("migrate", **wrong, **no_store) == (1, output)


@pytest.mark.parametrize(
    "wrong", [{"REQUEST_TIMEOUT": "7"}, {"DB_STATEMENT_TIMEOUT": "60"}, {"DB_POOL_TIMEOUT": "28"}]
)
def test_request_timeout_must_exceed_pool_and_statement_timeout(
    wrong: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    error = reject_settings()
    expected = (
        "REQUEST_TIMEOUT: Must be more than DB_POOL_TIMEOUT and DB_STATEMENT_TIMEOUT together"
    )
    assert describe_validation_error(error).startswith(expected)


@pytest.mark.parametrize("seconds", ["59", str(10 * 365 * 24 * 3600 + 1), "an hour"])
def test_token_ttl_must_be_a_minute_to_ten_years(
    seconds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_TTL", seconds)
    error = reject_settings()
    assert re.fullmatch(r"TOKEN_TTL: Input should be .+", describe_validation_error(error))


@pytest.mark.parametrize("seconds", ["60", str(10 * 365 * 24 * 3600)])
async def test_token_expires_after_token_ttl(
    seconds: str, client: AsyncClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_TTL", seconds)
    settings.token_ttl = Settings(_env_file=None).token_ttl
    await make_user(client)
    value = {"username": "ada@example.com", "password": "correct horse"}
    before = datetime.now(UTC)
    expected = (await client.post("/tokens", data=value)).json()
    after = datetime.now(UTC)
    assert expected["expires_in"] == int(seconds)
    headers = {"Authorization": f"Bearer {expected['access_token']}"}
    [token] = (await client.get("/tokens", headers=headers)).json()["items"]
    began = datetime.fromisoformat(token["expires_at"]) - timedelta(seconds=int(seconds))
    assert before <= began <= after


@pytest.mark.parametrize(
    ("former", "pooler", "expected"),
    [
        ("", "", "none"),
        ("false", "transaction-prepared", "transaction-prepared"),
        ("true", "", "transaction"),
        # Both are set while servers of the last version are still running.
        ("true", "transaction-prepared", "transaction-prepared"),
    ],
)
def test_former_setting_of_pooler_means_pooler_without_prepared_statements(
    former: str, pooler: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_PGBOUNCER", former)
    monkeypatch.setenv("DB_POOLER", pooler)
    assert Settings(_env_file=None).pooler == expected


def test_contradictory_settings_of_pooler_are_refused() -> None:
    error = reject_settings(db_pgbouncer=True, db_pooler="none")
    assert "DB_POOLER: Must not be none if DB_PGBOUNCER is true" in describe_validation_error(error)
