"""Misspelled settings in `.env` and the environment, and variables of other programs."""

import socket
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import InvalidSettings, Settings, describe_validation_error, read_settings
from app.settings._names import describe_unknown_setting
from app.settings._sources import list_setting_names, list_setting_warnings
from tests.support.processes import start_command
from tests.support.settings import UNREACHABLE_DATABASE_URL, reject_settings

SETTING_NAMES = list_setting_names(Settings)
# The names of mistakes in `.env`, and the setting that each means.
MISSPELLED_NAMES: dict[str, str] = {
    "DB_POOL_SIZES": "DB_POOL_SIZE",
    "DBPOOLSIZE": "DB_POOL_SIZE",
    "POOL_SIZE": "DB_POOL_SIZE",
    "DATABASE_URI": "DATABASE_URL",
    "DATABASEURL": "DATABASE_URL",
    "ALLOWED_HOST": "ALLOWED_HOSTS",
    "CORS_ORIGIN": "CORS_ORIGINS",
    "S3_ENDPOINT": "S3_ENDPOINT_URL",
    "LOGLEVEL": "LOG_LEVEL",
    "PORTS": "PORT",
    "HOSTS": "HOST",
}
# The names of other programs, which a shared file may contain.
FOREIGN_NAMES = [
    *("COMPOSE_PROJECT_NAME", "POSTGRES_PASSWORD", "POSTGRES_DB", "S3_PORT", "IMAGE"),
    *("VITE_API_URL", "NEXT_PUBLIC_API_URL", "STRIPE_KEY", "AWS_REGION", "AWS_ACCESS_KEY_ID"),
    *("SENTRY_DSN", "OTEL_SERVICE_NAME", "SECRET_KEY", "NODE_ENV", "TZ", "REDIS_PORT", "X" * 100),
]
# Values of other programs in variables that have the name of a setting.
FOREIGN_VALUES = [
    ("HOST", "x86_64-conda-linux-gnu"),
    ("HOST", "x86_64-conda_cos6-linux-gnu"),
    ("HOST", "aarch64-conda-linux-gnu"),
    ("HOST", "arm64-apple-darwin20.0.0"),
    ("HOST", "x86_64-apple-darwin13.4.0"),
    ("HOST", "x86_64-w64-mingw32"),
    ("METRICS_PORT", "tcp://10.0.0.1:9090"),
    ("METRICS_PORT", "udp://[fd00::1]:9090"),
]


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file `.env` in the working directory of the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".env"


@pytest.mark.parametrize(("name", "setting"), MISSPELLED_NAMES.items())
def test_misspelled_name_in_env_file_is_an_error_that_names_the_setting(
    env_file: Path, name: str, setting: str
) -> None:
    env_file.write_text(f"{name}=hunter2\n")
    with pytest.raises(ValidationError) as raised:
        Settings()
    message = describe_validation_error(raised.value)
    assert message == f"{name}: Unknown setting. Did you mean {setting}?"


def test_unknown_name_with_the_first_word_of_settings_is_an_error_that_lists_them() -> None:
    message = describe_unknown_setting("DB_HOST", SETTING_NAMES) or ""
    assert message.startswith("Unknown setting. Those that begin with DB_ are DB_FAST_PATH, DB_PG")
    assert "S3_BUCKET" in (describe_unknown_setting("S3_ACCESS_KEY", SETTING_NAMES) or "")


@pytest.mark.parametrize("name", FOREIGN_NAMES)
def test_name_of_another_program_in_env_file_is_accepted(env_file: Path, name: str) -> None:
    env_file.write_text(f"{name}=hunter2\nPORT=8001\n")
    assert Settings().port == 8001
    warnings = " ".join(list_setting_warnings(Settings))
    is_of_compose = name in FOREIGN_NAMES[:5]
    assert (name in warnings) != is_of_compose
    assert "hunter2" not in warnings


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_env_file_that_is_not_utf_8_is_refused_without_its_content(
    env_file: Path, encoding: str
) -> None:
    env_file.write_bytes("VITE_NAME=hünter2\n".encode(encoding))
    with pytest.raises(InvalidSettings) as raised:
        read_settings()
    assert str(raised.value) == "invalid settings\n.env: Must be encoded in UTF-8"


def test_env_file_with_bom_export_quotes_comments_and_crlf_is_read(env_file: Path) -> None:
    lines = ("\ufeffexport PORT='8001' # a comment", 'host="127.0.0.2"', "# DB_POOL_SIZES=1", "")
    env_file.write_bytes("\r\n".join(lines).encode())
    settings = read_settings()
    assert (settings.port, settings.host) == (8001, "127.0.0.2")
    assert list_setting_warnings(Settings) == []


def test_misspelled_variable_of_the_environment_is_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("DB_POOL_SIZES", "ALLOWED_HOST", "HOSTNAME", "TEST_PORT_8000_TCP", "PORTS"):
        monkeypatch.setenv(name, "hunter2")
    warnings = [text for text in list_setting_warnings(Settings) if "did you mean" in text]
    assert warnings == [
        "the variable ALLOWED_HOST is not a setting: did you mean ALLOWED_HOSTS?",
        "the variable DB_POOL_SIZES is not a setting: did you mean DB_POOL_SIZE?",
    ]


@pytest.mark.parametrize(("name", "value"), [*FOREIGN_VALUES, ("HOST", socket.gethostname())])
def test_value_of_another_program_is_ignored_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    assert (settings.host, settings.metrics_port) == ("127.0.0.1", 0)
    warnings = list_setting_warnings(Settings)
    assert any(text.startswith(f"the variable {name} is ignored: ") for text in warnings)
    assert value not in " ".join(warnings)


def test_setting_in_env_file_replaces_the_value_of_another_program(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST", "x86_64-conda-linux-gnu")
    env_file.write_text(f"HOST={socket.gethostname()}\n")
    assert Settings().host == socket.gethostname()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "fe80::1%eth0", "10.1.2.3", "db.example"])
def test_address_to_listen_on_is_accepted(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("HOST", host)
    assert Settings(_env_file=None).host == host


@pytest.mark.parametrize(
    "host", ["*", "http://localhost", "tcp://10.0.0.1:80", "0.0.0.0:8000", "[::1]", "a b", "-x"]
)
def test_text_that_is_not_an_address_to_listen_on_is_refused(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("HOST", host)
    message = describe_validation_error(reject_settings())
    assert message.startswith("HOST: Must be an IP address such as 127.0.0.1, 0.0.0.0 or ::1")


def test_service_link_in_another_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "tcp://10.0.0.1:80")
    assert "PORT: " in describe_validation_error(reject_settings())


async def test_server_starts_on_loopback_with_variables_of_conda_and_kubernetes() -> None:
    process = await start_command(
        "serve",
        DATABASE_URL=UNREACHABLE_DATABASE_URL,
        HOST="x86_64-conda-linux-gnu",
        METRICS_PORT="tcp://10.0.0.1:9090",
        DB_POOL_SIZES="5",
        LOG_FORMAT="json",
    )
    assert process.stdout is not None
    output = ""
    while "serves http://" not in output:
        line = await process.stdout.readline()
        assert line, output
        output += line.decode()
    process.terminate()
    await process.communicate()
    assert process.returncode == 0
    assert "serves http://127.0.0.1:" in output
    for warning in (
        "the variable HOST is ignored: conda",
        "the variable METRICS_PORT is ignored: Kubernetes",
        "the variable DB_POOL_SIZES is not a setting: did you mean DB_POOL_SIZE?",
    ):
        assert warning in output
