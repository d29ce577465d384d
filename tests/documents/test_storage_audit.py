"""The audit of the store: objects without a row are counted, and named once."""

import asyncio

import asyncpg
import pytest
from httpx import AsyncClient

from app.core.db import Database
from app.core.storage import Storage
from app.documents import storage_audit
from app.documents.storage_audit import AuditResult, StorageAudit
from app.settings import Settings
from tests.documents.conftest import ListObjectStates, Sweep
from tests.support.commands import exit_code_and_output
from tests.support.factories import make_document
from tests.support.metrics import find_free_port, scrape_metrics
from tests.support.processes import poll_until, running_workers
from tests.support.store_proxy import ProxyAction, StoreProxy

pytestmark = pytest.mark.private_database

UNKNOWN = "is in the store but has no row in the database"


@pytest.fixture
def audit(database: Database, storage: Storage, settings: Settings) -> StorageAudit:
    return StorageAudit(database.writes, storage, settings)


@pytest.fixture
def environment(database_url: str, settings: Settings) -> dict[str, str]:
    """The environment variables of a command or worker that uses the data of the test."""
    return {"DATABASE_URL": database_url, "S3_PREFIX": settings.s3_prefix}


async def put_unknown_object(storage: Storage, settings: Settings, name: str = "unknown") -> str:
    """Store an object without a row, and return its key."""
    key = f"{settings.s3_prefix}{name}"
    await storage.put(key, bytearray(b"?"))
    return key


async def test_unknown_object_is_counted_in_each_audit_and_logged_in_the_first(
    settings: Settings,
    storage: Storage,
    environment: dict[str, str],
    list_object_states: ListObjectStates,
) -> None:
    key = await put_unknown_object(storage, settings)
    exit_code, output = await exit_code_and_output("jobs", "run", "audit-storage", **environment)
    assert (exit_code, output.splitlines()[-1]) == (0, "1 unknown objects, 1 of them new")
    assert f"object {key} {UNKNOWN}" in output
    assert await list_object_states() == ["object"]
    exit_code, output = await exit_code_and_output("jobs", "run", "audit-storage", **environment)
    assert (exit_code, output.splitlines()[-1]) == (0, "1 unknown objects, 0 of them new")
    assert key not in output


async def test_files_of_documents_and_uploads_are_known(
    client: AsyncClient, outside_connection: asyncpg.Connection, audit: StorageAudit
) -> None:
    for name in ("ready", "deleting"):
        await make_document(client, name, b"content")
    await outside_connection.execute("DELETE FROM documents WHERE name = 'deleting'")
    assert await audit.run() == AuditResult()


async def test_object_that_is_removed_after_it_was_listed_is_not_unknown(
    client: AsyncClient,
    database: Database,
    settings: Settings,
    proxy: StoreProxy,
    sweep: Sweep,
    list_object_states: ListObjectStates,
) -> None:
    document = await make_document(client, content=b"content")
    proxy.set_action(ProxyAction.HOLD_RESPONSE, "list-type=2")
    storage = Storage(settings.model_copy(update={"s3_endpoint_url": proxy.origin}))
    audit_task = asyncio.create_task(StorageAudit(database.writes, storage, settings).run())
    await proxy.action_reached.wait()
    await client.delete(f"/documents/{document['id']}")
    await sweep()
    assert await list_object_states() == []
    proxy.release.set()
    assert await audit_task == AuditResult()
    storage.close()


async def test_audit_forgets_object_that_was_removed(
    settings: Settings,
    storage: Storage,
    audit: StorageAudit,
    outside_connection: asyncpg.Connection,
) -> None:
    kept_key = await put_unknown_object(storage, settings, "kept")
    removed_key = await put_unknown_object(storage, settings, "removed")
    assert await audit.run() == AuditResult(unknown_objects=2, new_objects=2)
    await storage.delete(removed_key)
    assert await audit.run() == AuditResult(unknown_objects=1, new_objects=0)
    rows = await outside_connection.fetch("SELECT key FROM unknown_objects")
    assert [row["key"] for row in rows] == [kept_key]


async def test_audit_counts_all_unknown_objects_and_logs_only_the_first(
    settings: Settings,
    storage: Storage,
    audit: StorageAudit,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(storage_audit, "MAX_LOGGED_KEYS", 2)
    for number in range(5):
        await put_unknown_object(storage, settings, f"{number}")
    assert await audit.run() == AuditResult(unknown_objects=5, new_objects=5)
    assert caplog.text.count(UNKNOWN) == 2
    assert "3 further objects are in the store" in caplog.text


async def test_audit_that_cannot_list_the_store_fails_and_forgets_nothing(
    settings: Settings,
    storage: Storage,
    audit: StorageAudit,
    environment: dict[str, str],
    proxy: StoreProxy,
    outside_connection: asyncpg.Connection,
) -> None:
    await put_unknown_object(storage, settings)
    await audit.run()
    proxy.set_action(ProxyAction.ACCESS_DENIED, "list-type=2")
    exit_code, output = await exit_code_and_output(
        "jobs", "run", "audit-storage", S3_ENDPOINT_URL=proxy.origin, **environment
    )
    assert (exit_code, "Traceback" in output) == (1, False)
    assert "audit-storage failed: could not list the objects" in output
    assert "permission s3:ListBucket" in output
    assert await outside_connection.fetchval("SELECT count(*) FROM unknown_objects") == 1


async def test_worker_exports_the_number_that_another_process_has_counted(
    settings: Settings, storage: Storage, environment: dict[str, str]
) -> None:
    await put_unknown_object(storage, settings)
    await exit_code_and_output("jobs", "run", "audit-storage", **environment)
    port = find_free_port()
    metric = f'unknown_objects{{prefix="{settings.s3_prefix}"}}'

    async def is_exported() -> bool:
        # The metrics cannot be scraped before the worker has started.
        if "count-users" not in worker.output:
            return False
        return (await scrape_metrics(port)).get(metric) == 1

    async with running_workers({**environment, "METRICS_PORT": port}) as [worker]:
        await poll_until(is_exported)
    assert "audit-storage" not in worker.output
