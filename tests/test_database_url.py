"""Tests of database URLs. A part of a rejected URL may belong to the password."""

import pytest
from pydantic import SecretStr

from app.setting_errors import describe_validation_error
from app.settings import Settings
from tests.support.secret_urls import AMBIGUOUS_URLS, CANARY
from tests.support.settings import reject_settings

MUST_BE_A_URL = "Must be a URL such as postgresql://user:password@host:5432/name. Percent-encode"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("postgres://u:p@h:5433/d", "postgresql+asyncpg://u:p@h:5433/d"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql://h/d?sslmode=require", "postgresql+asyncpg://h/d?ssl=require"),
        ("postgresql:///d?host=/run/pg", "postgresql+asyncpg:///d?host=%2Frun%2Fpg"),
        ("postgresql:///d?host=/run/my pg", "postgresql+asyncpg:///d?host=%2Frun%2Fmy+pg"),
        ("postgresql://u@/d?host=%2Frun%2Fpg", "postgresql+asyncpg://u@/d?host=%2Frun%2Fpg"),
        ("postgresql://u:p@h1,h2:5432/d", "postgresql+asyncpg://u:p@h1,h2:5432/d"),
        ("postgresql://u:p@[::1]:5432/d", "postgresql+asyncpg://u:p@[::1]:5432/d"),
        (
            "postgresql:///d?host=h1:5432&host=h2:5433&target_session_attrs=primary",
            "postgresql+asyncpg:///d?host=h1%3A5432&host=h2%3A5433&target_session_attrs=primary",
        ),
    ],
)
def test_database_url_of_libpq_is_converted_for_sqlalchemy(value: str, expected: str) -> None:
    url = Settings(_env_file=None, database_url=value).sqlalchemy_url
    assert url.render_as_string(hide_password=False) == expected


@pytest.mark.parametrize(
    ("encoded", "password"),
    [
        ("p%40%3A%2F%3F%23%5B%5D%25%20%0A", "p@:/?#[]% \n"),
        ("a:b!$&'()*+,;=-._~", "a:b!$&'()*+,;=-._~"),
        ('pässword^{|}"\\', 'pässword^{|}"\\'),
        ("", ""),
    ],
)
def test_password_of_database_url_may_contain_every_character(encoded: str, password: str) -> None:
    url = Settings(_env_file=None, database_url=f"postgresql://ada:{encoded}@h/d").sqlalchemy_url
    assert (url.username, url.password, url.host) == ("ada", password, "h")


@pytest.mark.parametrize("setting_name", ["database_url", "reporting_database_url"])
@pytest.mark.parametrize("url", AMBIGUOUS_URLS)
def test_database_url_with_special_character_is_rejected_without_repeating_it(
    setting_name: str, url: str
) -> None:
    error = reject_settings(**{setting_name: url})
    sentences = describe_validation_error(error)
    assert sentences.startswith(f"{setting_name.upper()}: {MUST_BE_A_URL}")
    # A traceback contains the error itself.
    assert CANARY not in f"{sentences} {error}"


def test_rejected_secret_is_not_in_the_error() -> None:
    error = reject_settings(database_url=f"mysql://ada:{CANARY}@h/d")
    assert CANARY not in f"{error} {error!r}"


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        (f"password={CANARY}", "Supports only these query parameters: host, passfile, "),
        (f"{CANARY}=1", "Supports only these query parameters: host, passfile, "),
        ("connect_timeout=10", "Supports only these query parameters: host, passfile, "),
        (f"sslmode={CANARY}", "Has an invalid value of the query parameter sslmode"),
        (f"port={CANARY}", "Has an invalid value of the query parameter port"),
        (f"target_session_attrs={CANARY}", "Has an invalid value of the query parameter target_"),
    ],
)
def test_query_parameter_that_asyncpg_does_not_support_is_rejected(
    parameters: str, sentence: str
) -> None:
    error = reject_settings(database_url=f"postgresql://ada:{CANARY}@h/d?{parameters}")
    sentences = describe_validation_error(error)
    assert sentences.startswith(f"DATABASE_URL: {sentence}")
    assert CANARY not in f"{sentences} {error}"


def test_settings_do_not_show_the_database_password() -> None:
    settings = Settings(_env_file=None, database_url=SecretStr(f"postgresql://ada:{CANARY}@h/d"))
    assert CANARY not in f"{settings!r} {settings.sqlalchemy_url}"
    assert settings.sqlalchemy_url.password == CANARY
