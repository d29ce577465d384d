"""The client address in X-Forwarded-For, which only a trusted proxy may set."""

import asyncpg
import httpx
import pytest

from tests.support.processes import running_server


@pytest.mark.parametrize(
    ("trusted_proxies", "address_count"),
    [
        # All logins come from the address of the connection.
        ("", 1),
        # The addresses that the proxy names: 203.0.113.7 once, and 203.0.113.8 twice.
        ("127.0.0.0/8, ::1", 2),
    ],
)
async def test_login_failures_are_counted_by_the_address_that_a_trusted_proxy_names(
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
    query = "SELECT count(*) FROM login_failures WHERE kind = 'address'"
    assert await connection.fetchval(query) == address_count
    await connection.close()
