"""TLS connections to a real Postgres, whose certificates are made with openssl."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from app.core.db import Database
from app.core.errors import Unavailable
from tests.support.certificates import OPENSSL
from tests.support.databases import open_database
from tests.support.rows import first_value
from tests.support.settings import make_settings
from tests.support.tls_postgres import OTHER_NAME, POSTGRES, TlsPostgres, running_tls_postgres

pytestmark = pytest.mark.skipif(
    OPENSSL is None or POSTGRES is None, reason="openssl or a Postgres server is not installed"
)

IS_ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.fixture(scope="module")
def server() -> Iterator[TlsPostgres]:
    with running_tls_postgres() as server:
        yield server


async def is_encrypted(database: Database, bind: str = "default") -> str:
    """Return "True" if the connection of a bind uses TLS."""
    return first_value(await database.named_databases[bind].reads.execute(text(IS_ENCRYPTED)))


async def connect(url: str) -> str:
    """Connect to the server of a URL. Return "True" if the connection uses TLS."""
    async with open_database(make_settings(url)) as database:
        return await is_encrypted(database)


async def expect_untrusted(url: str) -> None:
    """Require that the service does not trust the server of a URL."""
    with pytest.raises(Unavailable) as raised:
        await connect(url)
    assert "certificate verify failed" in str(raised.value.__cause__)


async def test_every_bind_accepts_certificate_of_right_authority_and_host(
    server: TlsPostgres,
) -> None:
    async with open_database(make_settings(server.verifying_url(server.authority))) as database:
        for bind in database.named_databases:
            assert await is_encrypted(database, bind) == "True"


async def test_certificate_of_other_authority_is_refused(server: TlsPostgres) -> None:
    await expect_untrusted(server.verifying_url(server.other_authority))


async def test_certificate_of_other_host_is_refused(server: TlsPostgres) -> None:
    await expect_untrusted(server.verifying_url(server.authority, OTHER_NAME))


async def test_expired_certificate_is_refused(server: TlsPostgres) -> None:
    async with server.using_expired_certificate():
        await expect_untrusted(server.verifying_url(server.authority))


async def test_verify_ca_accepts_certificate_of_other_host(server: TlsPostgres) -> None:
    url = server.verifying_url(server.authority, OTHER_NAME)
    assert await connect(url.replace("verify-full", "verify-ca")) == "True"


async def test_sslrootcert_system_trusts_authorities_of_the_machine(
    server: TlsPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    # OpenSSL takes this file for the authorities of the machine.
    monkeypatch.setenv("SSL_CERT_FILE", str(server.authority.certificate))
    assert await connect(server.url(sslrootcert="system")) == "True"


async def test_sslrootcert_system_refuses_other_authorities(server: TlsPostgres) -> None:
    await expect_untrusted(server.url(sslrootcert="system"))


async def test_sslrootcert_system_refuses_other_host(
    server: TlsPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.authority.certificate))
    await expect_untrusted(server.url(OTHER_NAME, sslrootcert="system"))


@pytest.mark.parametrize(
    ("ssl_mode", "expected"),
    [("disable", "False"), ("allow", "False"), ("prefer", "True"), ("require", "True")],
)
async def test_weaker_ssl_modes_accept_every_certificate(
    server: TlsPostgres, ssl_mode: str, expected: str
) -> None:
    assert await connect(server.url(sslmode=ssl_mode)) == expected


@pytest.mark.parametrize("root_certificate", ["", "system"])
async def test_newest_tls_version_may_be_excluded(
    server: TlsPostgres, monkeypatch: pytest.MonkeyPatch, root_certificate: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.authority.certificate))
    url = server.url(ssl_max_protocol_version="TLSv1.2", sslrootcert=root_certificate)
    async with open_database(make_settings(url)) as database:
        version = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert first_value(await database.reads.execute(text(version))) == "TLSv1.2"


async def test_keepalives_are_set_on_the_socket_of_a_tls_connection(server: TlsPostgres) -> None:
    url = server.url(keepalives_idle="33", tcp_user_timeout="4000")
    async with (
        open_database(make_settings(url)) as database,
        database.engine.connect() as connection,
    ):
        pool_connection = await connection.get_raw_connection()
        driver_connection: Any = pool_connection.driver_connection
        tcp_socket = driver_connection._transport.get_extra_info("socket")
        assert tcp_socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert tcp_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 33
        assert tcp_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 4000
