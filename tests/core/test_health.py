"""The probes."""

import asyncio
import socket
from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import text

from app.core.db import Database
from app.core.server import _readiness as readiness
from app.core.storage import Storage
from tests.conftest import make_settings
from tests.support.resources import replace_resources

NOBODY_LISTENS = "postgresql://127.0.0.1:1/none"


@pytest.fixture
def use(app: FastAPI, template_url: str) -> Iterator[Callable[..., None]]:
    """Have the service use the store that these settings name."""
    made: list[Storage] = []

    def use(**changes: str) -> None:
        made.append(Storage(make_settings(template_url, **changes)))
        replace_resources(app, storage=made[-1])

    yield use
    for storage in made:
        storage.close()


async def test_the_liveness_probe_needs_no_database(app: FastAPI, client: AsyncClient) -> None:
    replace_resources(app, database=Database(make_settings(NOBODY_LISTENS)))
    answer = await client.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_the_service_is_ready_when_the_schema_is_at_head(client: AsyncClient) -> None:
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_it_is_not_ready_without_a_database(app: FastAPI, client: AsyncClient) -> None:
    replace_resources(app, database=Database(make_settings(NOBODY_LISTENS)))
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["detail"] == "database: does not respond"


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"s3_endpoint_url": "http://127.0.0.1:1"}, "storage: does not respond"),
        ({"s3_bucket": "of-nobody"}, "storage: the bucket does not exist"),
    ],
)
async def test_it_is_not_ready_without_a_storage(
    client: AsyncClient, use: Callable[..., None], changes: dict[str, str], detail: str
) -> None:
    use(**changes)
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["detail"] == detail


async def test_readiness_names_a_storage_client_that_takes_too_long_to_load(
    client: AsyncClient, use: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use()
    monkeypatch.setattr(readiness, "STORAGE_OPEN_TIMEOUT_SECONDS", 0)
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "storage: the client library is still being loaded"


async def test_what_is_wrong_with_both_is_told_after_the_time_of_one(
    app: FastAPI, client: AsyncClient, use: Callable[..., None]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = "{}:{}".format(*silent.getsockname())
        use(s3_endpoint_url=f"http://{address}")
        replace_resources(app, database=Database(make_settings(f"postgresql://{address}/none")))
        async with asyncio.timeout(1.9 * readiness.PROBE_TIMEOUT_SECONDS):
            answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "database: does not respond; storage: does not respond"


@pytest.mark.private_database
@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE alembic_version SET version_num = '0000' RETURNING 1", "0000"),
        ("DELETE FROM alembic_version RETURNING 1", "none"),
        ("WITH x AS (SELECT 1) SELECT 1 FROM x", None),
    ],
)
async def test_it_is_not_ready_with_another_schema(
    client: AsyncClient, database: Database, change: str, found: str | None
) -> None:
    await database.writes.execute(text(change))
    answer = await client.get("/readyz")
    if found is None:
        assert answer.status_code == 200
    else:
        assert answer.status_code == 503
        assert f"revision {found}, not at" in answer.json()["detail"]


@pytest.mark.private_database
async def test_it_is_not_ready_without_any_schema(client: AsyncClient, database: Database) -> None:
    async with database.engine.connect() as connection:
        await connection.execute(text("DROP TABLE alembic_version"))
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert "revision none" in answer.json()["detail"]
