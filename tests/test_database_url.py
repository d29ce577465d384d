"""Tests of database URLs. A part of a rejected URL may belong to the password."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from app.settings import Settings, describe_validation_error
from tests.support.secret_urls import AMBIGUOUS_URLS, CANARY
from tests.support.settings import reject_settings

MUST_BE_A_URL = "Must be a URL such as postgresql://user:password@host:5432/name. Percent-encode"
NOT_SUPPORTED = "Does not support this use of the query parameter"
SOCKET = "postgresql+asyncpg://u@/d?host=%2Frun%2Fpg"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("postgres://u:p@h:5433/d", "postgresql+asyncpg://u:p@h:5433/d"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgresql://h/d?sslmode=require", "postgresql+asyncpg://h/d?sslmode=require"),
        ("postgresql://h/d?ssl=require", "postgresql+asyncpg://h/d?sslmode=require"),
        ("postgresql://h/d?ssl=true", "postgresql+asyncpg://h/d?sslmode=require"),
        ("postgresql://u@/d?host=/run/pg&port=5433", f"{SOCKET}&port=5433"),
        ("postgresql://u@%2Frun%2Fpg/d", SOCKET),
        ("postgresql://u@%2Frun%2Fpg:5433/d", f"{SOCKET}&port=5433"),
        ("postgresql://h:1/d?port=2", "postgresql+asyncpg://h:2/d"),
        ("postgresql://h1:1/d?host=h2", "postgresql+asyncpg://h2:1/d"),
        ("postgresql://:5433/d", "postgresql+asyncpg://:5433/d"),
        ("postgresql://u@h/d?user=ada&dbname=e", "postgresql+asyncpg://ada@h/e"),
        ("postgresql://h/d?user=a&user=b", "postgresql+asyncpg://b@h/d"),
        ("postgresql://u@h/d?password=a%2Bb+c", "postgresql+asyncpg://u:a+b+c@h/d"),
        ("postgresql://h/d?sslmode=disable&options=", "postgresql+asyncpg://h/d?sslmode=disable"),
        ("postgresql://[fe80::1%25eth0]/d", "postgresql+asyncpg://[fe80::1%eth0]/d"),
        ("postgresql:///d?host=/run/pg", "postgresql+asyncpg:///d?host=%2Frun%2Fpg"),
        ("postgresql:///d?host=/run/my pg", "postgresql+asyncpg:///d?host=%2Frun%2Fmy+pg"),
        ("postgresql://u@/d?host=%2Frun%2Fpg", SOCKET),
        ("postgresql://u:p@[::1]:5432/d", "postgresql+asyncpg://u:p@[::1]:5432/d"),
    ],
)
def test_database_url_of_libpq_is_converted_for_sqlalchemy(value: str, expected: str) -> None:
    url = Settings(_env_file=None, database_url=value).sqlalchemy_url
    assert url.render_as_string(hide_password=False) == expected


@pytest.mark.parametrize(
    ("hosts_in_url", "hosts", "ports"),
    [
        ("h1:1,h2:2/d?", "h1,h2", "1,2"),
        ("h1,h2:5433/d?", "h1,h2", "5432,5433"),
        ("h1:1,h2/d?", "h1,h2", "1,5432"),
        ("h1,h2/d?", "h1,h2", "5432,5432"),
        ("h1,h2/d?port=1", "h1,h2", "1,1"),
        ("h1:1,h2:2/d?port=3,4", "h1,h2", "3,4"),
        ("/d?host=h1,h2&port=1,", "h1,h2", "1,5432"),
        ("/d?host=h1,h2", "h1,h2", "5432,5432"),
        ("[::1]:1,[::2],h/d?", "::1,::2,h", "1,5432,5432"),
        ("127.0.0.1,%2Fvar%2Frun:1/d?", "127.0.0.1,/var/run", "5432,1"),
        # SQLAlchemy's form, which libpq does not have.
        ("/d?host=h1:1&host=h2:2", "h1,h2", "1,2"),
    ],
)
def test_database_url_may_have_several_hosts(hosts_in_url: str, hosts: str, ports: str) -> None:
    settings = Settings(_env_file=None, database_url=f"postgresql://u:p@{hosts_in_url}")
    assert settings.sqlalchemy_url.query == {"host": hosts, "port": ports}


@pytest.mark.parametrize(
    ("rest_of_url", "sentence"),
    [
        ("h1,h2/d?port=1,2,3", "Must name one port for each host, one for all of them or none"),
        ("h/d?port=1,2", "Must name one port for each host, one for all of them or none"),
        ("h1,,h2/d", "Must not have an empty host in the list of hosts"),
        ("/d?host=h1,", "Must not have an empty host in the list of hosts"),
        ("h:65536/d", "Must have ports from 1 to 65535"),
        ("h1:1,h2:0/d", "Must have ports from 1 to 65535"),
        ("h1:1,h2:x/d", MUST_BE_A_URL),
        ("[::1,h2/d", MUST_BE_A_URL),
        ("h/d?sslmode", MUST_BE_A_URL),
        ("h/d?options=-c%20a=b", MUST_BE_A_URL),
        ("h/d%00", MUST_BE_A_URL),
        ("h/d%FF", MUST_BE_A_URL),
    ],
)
def test_database_url_that_libpq_refuses_is_rejected(rest_of_url: str, sentence: str) -> None:
    error = reject_settings(database_url=f"postgresql://ada:{CANARY}@{rest_of_url}")
    sentences = describe_validation_error(error)
    assert sentences.startswith(f"DATABASE_URL: {sentence}")
    assert CANARY not in f"{sentences} {error}"


@pytest.mark.parametrize(
    ("encoded", "password"),
    [
        ("p%40%3A%2F%3F%23%5B%5D%25%20%0A", "p@:/?#[]% \n"),
        ("a:b!$&'()*+,;=-._~", "a:b!$&'()*+,;=-._~"),
        ('pässword^{|}"\\', 'pässword^{|}"\\'),
        ("", None),
    ],
)
def test_password_of_database_url_may_contain_every_character(
    encoded: str, password: str | None
) -> None:
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
        (f"{CANARY}=1", "Supports only these query parameters: application_name, "),
        (f"sslmode={CANARY}", "Has an invalid value of the query parameter sslmode"),
        (f"port={CANARY}", "Has an invalid value of the query parameter port"),
        (f"target_session_attrs={CANARY}", "Has an invalid value of the query parameter target_"),
        (f"connect_timeout={CANARY}", "Has an invalid value of the query parameter connect_"),
        (f"keepalives={CANARY}", "Has an invalid value of the query parameter keepalives"),
        (f"load_balance_hosts={CANARY}", "Has an invalid value of the query parameter load_"),
        ("host=%40abstract", "Has an invalid value of the query parameter host"),
        ("channel_binding=require", f"{NOT_SUPPORTED} channel_binding. Remove it, and let ssl"),
        ("gssencmode=require", f"{NOT_SUPPORTED} gssencmode. Use sslmode instead"),
        ("sslsni=0", f"{NOT_SUPPORTED} sslsni. Remove it"),
        ("client_encoding=LATIN1", f"{NOT_SUPPORTED} client_encoding. Remove it"),
        ("ssl_min_protocol_version=TLSv1", f"{NOT_SUPPORTED} ssl_min_protocol_version. Use"),
        (f"sslpassword={CANARY}", f"{NOT_SUPPORTED} sslpassword. Use a key file without a"),
        (f"service={CANARY}", f"{NOT_SUPPORTED} service. Write its parameters into the URL"),
        (f"hostaddr={CANARY}", f"{NOT_SUPPORTED} hostaddr. Use host instead"),
        ("require_auth=scram-sha-256", f"{NOT_SUPPORTED} require_auth. Remove it"),
        ("pgbouncer=true", f"{NOT_SUPPORTED} pgbouncer. Remove it, and set DB_POOLER"),
        ("connection_limit=5", f"{NOT_SUPPORTED} connection_limit. Set DB_POOL_SIZE instead"),
        ("schema=public", f"{NOT_SUPPORTED} schema. Set the search_path of the role"),
        (
            f"options=-c%20geqo%3Doff%20--statement-timeout%3D{CANARY}",
            "Must not set statement_timeout in the query parameter options: set DB_STATEMENT_T",
        ),
        ("options=-cTimeZone%3DCET", "Must not set timezone in the query parameter options"),
        ("sslrootcert=system&sslmode=require", "Supports sslrootcert=system only with sslmode="),
        ("sslnegotiation=direct", "Supports sslnegotiation=direct only with sslmode=require, "),
        ("sslmode=verify-full", "Needs sslrootcert for sslmode=verify-full: the file with the"),
        (
            "ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2",
            "Needs ssl_max_protocol_version not to be below ssl_min_protocol_version",
        ),
        (f"sslrootcert=/{CANARY}.crt", "Needs a PEM file that the service can read as sslrootcert"),
        (f"sslcrl=/{CANARY}.crl", "Needs a PEM file that the service can read as sslcrl"),
        (f"sslcert=/{CANARY}.crt", "Needs PEM files that the service can read as sslcert and"),
    ],
)
def test_unsupported_query_parameter_is_rejected_with_advice(
    parameters: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The driver reads certificates from the home directory.
    monkeypatch.setenv("HOME", str(tmp_path))
    error = reject_settings(database_url=f"postgresql://ada:{CANARY}@h/d?{parameters}")
    sentences = describe_validation_error(error)
    assert sentences.startswith(f"DATABASE_URL: {sentence}")
    assert CANARY not in f"{sentences} {error}"


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p@ec2-1.compute-1.amazonaws.com:5432/d?sslmode=require",
        "postgresql://u:p@ep-a-b.eu-central-1.aws.neon.tech/d?options=endpoint%3Dep-a-b",
        "postgresql://postgres.ref:p@aws-0-eu.pooler.supabase.com:6543/postgres?connect_timeout=15",
        "postgres://u%40server:p@server.postgres.database.azure.com:5432/d?sslmode=require",
        "postgresql://u:p@private-db.ondigitalocean.com:25060/d?sslmode=require&keepalives=1",
        "postgresql://u:p@/d?host=/cloudsql/project:region:instance",
        "postgresql://u:p@a.render.com,b.render.com/d?target_session_attrs=prefer-standby",
        "postgresql://u:p@h/d?gssencmode=disable&channel_binding=prefer&sslcompression=0&sslsni=1",
        "postgresql://u:p@h/d?keepalives_idle=30&keepalives_interval=10&keepalives_count=5",
        "postgresql://u:p@h/d?fallback_application_name=a&client_encoding=utf8&passfile=/x",
        "postgresql://u:p@h/d?load_balance_hosts=random&tcp_user_timeout=3000&sslcertmode=allow",
        "postgresql://u:p@h/d?sslmode=require&sslnegotiation=direct",
        "postgresql://u:p@h/d?sslmode=verify-full&sslrootcert=system",
    ],
)
def test_url_of_hosting_provider_is_accepted(url: str) -> None:
    settings = Settings(_env_file=None, database_url=url)
    assert settings.sqlalchemy_url.password == "p"


def test_settings_do_not_show_the_database_password() -> None:
    settings = Settings(_env_file=None, database_url=SecretStr(f"postgresql://ada:{CANARY}@h/d"))
    assert CANARY not in f"{settings!r} {settings.sqlalchemy_url}"
    assert settings.sqlalchemy_url.password == CANARY
