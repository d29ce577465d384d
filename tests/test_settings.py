"""Settings: documented, typed, and clear about what is wrong."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings, describe

EXAMPLE = Path(__file__).parents[1] / ".env.example"


def documented() -> dict[str, str]:
    return dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))


def test_the_example_documents_every_setting_with_its_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in documented():
        monkeypatch.delenv(name, raising=False)
    assert {name.lower() for name in documented()} == set(Settings.model_fields)
    assert Settings(_env_file=EXAMPLE) == Settings(_env_file=None)


def test_every_setting_in_the_example_is_explained() -> None:
    lines = EXAMPLE.read_text().splitlines()
    for number, line in enumerate(lines):
        if "=" in line and not line.startswith("#"):
            assert lines[number - 1].startswith(("#", "HOST")), line


def test_a_wrong_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "eighty")
    monkeypatch.setenv("DATABASE_URL", "mysql://root:hunter2@localhost/x")
    with pytest.raises(ValidationError) as caught:
        Settings(_env_file=None)
    sentences = describe(caught.value)
    assert re.search(r"^PORT: .*integer", sentences, re.MULTILINE)
    assert "DATABASE_URL: Must look like postgresql://" in sentences
    assert "hunter2" not in sentences


def test_the_password_of_the_database_stays_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://root:hunter2@localhost/x")
    settings = Settings(_env_file=None)
    assert "hunter2" not in f"{settings!r} {settings.sqlalchemy_url}"
    assert settings.sqlalchemy_url.password == "hunter2"


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("postgres://u:p@h:5433/d", "postgresql+asyncpg://u:p@h:5433/d"),
        ("postgresql://h/d?sslmode=require", "postgresql+asyncpg://h/d?ssl=require"),
        ("postgresql:///d?host=/run/pg", "postgresql+asyncpg:///d?host=%2Frun%2Fpg"),
    ],
)
def test_urls_in_libpq_form_are_understood(given: str, made: str) -> None:
    url = Settings(_env_file=None, database_url=given).sqlalchemy_url
    assert url.render_as_string(hide_password=False) == made
