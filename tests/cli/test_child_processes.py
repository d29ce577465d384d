"""The environment of the processes that a server starts."""

import pytest
from pydantic import SecretStr

from app.cli.child_processes import build_connection_environment
from app.settings import Settings


def test_process_of_a_server_with_an_embedded_database_lets_everyone_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("APP_ENV", "HOST", "DATABASE_URL", "ANONYMOUS_ACCESS"):
        monkeypatch.delenv(name, raising=False)
    settings = Settings(_env_file=None)
    # The server adds the URL of its embedded Postgres. On its own, such a URL changes the default.
    complete_settings = settings.model_copy(update={"database_url": SecretStr("postgresql://h/d")})
    for name, value in build_connection_environment(complete_settings).items():
        monkeypatch.setenv(name, value)
    assert Settings(_env_file=None).anonymous_access == "full"
