"""The health endpoints /livez and /readyz."""

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
from tests.support.resources import replace_resources
from tests.support.settings import UNREACHABLE_DATABASE_URL, make_settings

# Nothing listens on port 1, so connections to these are refused.
UNREACHABLE_STORE = "http://127.0.0.1:1"


@pytest.fixture
def use_storage(app: FastAPI, template_url: str) -> Iterator[Callable[..., None]]:
    """Return a function that makes the service use an object store with other settings."""
    storages: list[Storage] = []

    def use_storage(**settings: str) -> None:
        storage = Storage(make_settings(template_url, **settings))
        storages.append(storage)
        replace_resources(app, storage=storage)

    yield use_storage
    for storage in storages:
        storage.close()


async def test_livez_is_200_without_a_database(app: FastAPI, client: AsyncClient) -> None:
    replace_resources(app, database=Database(make_settings(UNREACHABLE_DATABASE_URL)))
    response = await client.get("/livez")
    assert (response.status_code, response.json()) == (200, {"status": "alive"})


async def test_readyz_is_200_when_all_backend_services_work(client: AsyncClient) -> None:
    response = await client.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"status": "ready"})


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/livez/"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_probe_response_must_not_be_stored(
    client: AsyncClient, method: str, path: str
) -> None:
    response = await client.request(method, path)
    assert response.headers["cache-control"] == "no-store"


async def test_readyz_is_503_without_a_database(app: FastAPI, client: AsyncClient) -> None:
    replace_resources(app, database=Database(make_settings(UNREACHABLE_DATABASE_URL)))
    response = await client.get("/readyz")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["detail"] == "database: does not accept connections"


@pytest.mark.parametrize(
    ("settings", "detail"),
    [
        ({"s3_endpoint_url": UNREACHABLE_STORE}, "storage: does not accept connections"),
        (
            {"s3_bucket": "missing-bucket"},
            "storage: the bucket does not exist; check S3_BUCKET and S3_ENDPOINT_URL",
        ),
    ],
)
async def test_readyz_is_503_without_an_object_store(
    client: AsyncClient, use_storage: Callable[..., None], settings: dict[str, str], detail: str
) -> None:
    use_storage(**settings)
    response = await client.get("/readyz")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json()["detail"] == detail


async def test_readyz_is_503_when_loading_the_store_library_takes_too_long(
    client: AsyncClient, use_storage: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_storage()
    monkeypatch.setattr(readiness, "STORAGE_OPEN_TIMEOUT_SECONDS", 0)
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["detail"] == "storage: the client library is still being loaded"


async def test_readyz_names_two_failures_after_a_single_timeout(
    app: FastAPI,
    client: AsyncClient,
    use_storage: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Longer than usual, so that a busy machine does not make one timeout look like two.
    monkeypatch.setattr(readiness, "PROBE_TIMEOUT_SECONDS", 3.0)
    # The server accepts connections but never responds.
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        host, port = silent_server.getsockname()
        use_storage(s3_endpoint_url=f"http://{host}:{port}")
        settings = make_settings(f"postgresql://{host}:{port}/none")
        replace_resources(app, database=Database(settings))
        async with asyncio.timeout(1.9 * readiness.PROBE_TIMEOUT_SECONDS):
            response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["detail"] == "database: does not respond; storage: does not respond"


@pytest.mark.private_database
@pytest.mark.parametrize(
    ("statement", "revision"),
    [
        ("UPDATE alembic_version SET version_num = '0001' RETURNING 1", "0001"),
        ("DELETE FROM alembic_version RETURNING 1", "none"),
    ],
)
async def test_readyz_is_503_when_the_schema_has_an_older_revision(
    client: AsyncClient, database: Database, statement: str, revision: str
) -> None:
    assert (await client.get("/readyz")).status_code == 200
    await database.writes.execute(text(statement))
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert f"revision {revision}, not at" in response.json()["detail"]


@pytest.mark.private_database
async def test_readyz_is_200_when_the_schema_has_a_newer_revision(
    client: AsyncClient, database: Database
) -> None:
    statement = "UPDATE alembic_version SET version_num = 'a_newer_one' RETURNING 1"
    await database.writes.execute(text(statement))
    assert (await client.get("/readyz")).status_code == 200


@pytest.mark.private_database
async def test_readyz_is_503_without_any_schema(client: AsyncClient, database: Database) -> None:
    async with database.engine.connect() as connection:
        await connection.execute(text("DROP TABLE alembic_version"))
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert "revision none" in response.json()["detail"]
