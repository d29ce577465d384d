"""The client address in X-Forwarded-For, which only a trusted proxy may set."""

import logging
import signal
from ipaddress import ip_network

import asyncpg
import httpx
import pytest

from app.core.server import UntrustedProxyWarning
from tests.support.processes import running_server, start_command, wait_for_origin

TRUSTED_NETWORKS = [ip_network("10.0.0.0/29"), ip_network("2001:db8::7")]
CLIENT_ADDRESS = "203.0.113.7"


async def read_output_after_forwarded_requests(**environment: str) -> str:
    """Run a server, send it requests that name a client, and return what the server has printed."""
    process = await start_command("serve", LOG_LEVEL="WARNING", **environment)
    origin = await wait_for_origin(process)
    for _ in range(3):
        # Each of these requests has a connection of its own.
        httpx.get(f"{origin}/livez", headers={"X-Forwarded-For": CLIENT_ADDRESS})
    process.send_signal(signal.SIGINT)
    output, _ = await process.communicate()
    return output.decode()


@pytest.mark.parametrize(
    ("trusted_proxies", "address_count"),
    [
        # All logins come from the address of the connection.
        ("", 1),
        # The addresses that the proxy names: 203.0.113.7 once, and 203.0.113.8 twice.
        ("127.0.0.0/8, ::1", 2),
    ],
)
async def test_failed_logins_are_counted_by_the_address_that_a_trusted_proxy_names(
    private_database_url: str, trusted_proxies: str, address_count: int
) -> None:
    wrong_login = {"username": "ada@example.com", "password": "wrong password"}
    async with running_server(
        DATABASE_URL=private_database_url, TRUSTED_PROXIES=trusted_proxies
    ) as (_, origin):
        for addresses in ("203.0.113.7", "203.0.113.8, 127.0.0.9", "203.0.113.7, 203.0.113.8"):
            response = httpx.post(
                f"{origin}/tokens", data=wrong_login, headers={"X-Forwarded-For": addresses}
            )
            assert response.status_code == 401
    connection = await asyncpg.connect(private_database_url)
    query = "SELECT count(*) FROM attempt_counters WHERE kind = 'network'"
    assert await connection.fetchval(query) == address_count
    await connection.close()


@pytest.mark.parametrize(
    ("trusted_proxies", "warning_count"), [("", 1), ("10.0.0.0/29", 1), ("127.0.0.1", 0)]
)
async def test_production_server_warns_once_if_an_untrusted_peer_names_a_client(
    private_database_url: str, trusted_proxies: str, warning_count: int
) -> None:
    output = await read_output_after_forwarded_requests(
        APP_ENV="production", DATABASE_URL=private_database_url, TRUSTED_PROXIES=trusted_proxies
    )
    warnings = [line for line in output.splitlines() if "TRUSTED_PROXIES" in line]
    assert len(warnings) == warning_count
    assert all("x-forwarded-for of 127.0.0.1" in line for line in warnings)
    assert CLIENT_ADDRESS not in output


async def test_development_server_does_not_warn_of_untrusted_proxies(
    private_database_url: str,
) -> None:
    output = await read_output_after_forwarded_requests(DATABASE_URL=private_database_url)
    assert "TRUSTED_PROXIES" not in output


@pytest.mark.parametrize(
    ("peer", "names", "is_logged"),
    [
        ("10.0.0.9", [b"host", b"x-forwarded-for"], True),
        ("10.0.0.9", [b"forwarded"], True),
        ("2001:db8::8", [b"x-forwarded-for"], True),
        ("fe80::1%eth0", [b"x-forwarded-for"], True),
        ("10.0.0.7", [b"x-forwarded-for"], False),
        ("2001:db8::7", [b"forwarded"], False),
        ("10.0.0.9", [b"host", b"x-forwarded-proto", b"via"], False),
    ],
)
def test_header_with_the_client_is_reported_only_of_untrusted_peers(
    caplog: pytest.LogCaptureFixture, peer: str, names: list[bytes], is_logged: bool
) -> None:
    UntrustedProxyWarning(TRUSTED_NETWORKS).check(peer, names)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * is_logged


def test_untrusted_proxy_is_reported_after_requests_without_its_header(
    caplog: pytest.LogCaptureFixture,
) -> None:
    warning = UntrustedProxyWarning(TRUSTED_NETWORKS)
    for peer, names in (
        ("10.0.0.9", [b"host"]),
        ("10.0.0.7", [b"x-forwarded-for"]),
        ("10.0.0.9", [b"x-forwarded-for"]),
        ("10.0.0.10", [b"x-forwarded-for"]),
    ):
        warning.check(peer, names)
    [record] = caplog.records
    assert "x-forwarded-for of 10.0.0.9" in record.getMessage()
