"""The probes."""

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import text

from app.core.database import Database
from tests.conftest import settings_for

NOBODY_LISTENS = "postgresql://127.0.0.1:1/none"


async def test_the_liveness_probe_needs_no_database(app: FastAPI, client: AsyncClient) -> None:
    app.state.database = None
    answer = await client.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_the_service_is_ready_when_the_schema_is_at_head(client: AsyncClient) -> None:
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_it_is_not_ready_without_a_database(app: FastAPI, client: AsyncClient) -> None:
    app.state.database = Database(settings_for(NOBODY_LISTENS))
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["detail"] == "database: does not answer"


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
    await database.writes.rows(text(change), {})
    answer = await client.get("/readyz")
    if found is None:
        assert answer.status_code == 200
    else:
        assert answer.status_code == 503
        assert f"revision {found}, not at" in answer.json()["detail"]


@pytest.mark.commits
async def test_it_is_not_ready_without_any_schema(client: AsyncClient, database: Database) -> None:
    async with database.engine.connect() as connection:
        await connection.execute(text("DROP TABLE alembic_version"))
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert "revision none" in answer.json()["detail"]
