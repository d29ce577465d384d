"""The metrics of the object store, of readiness, of password hashes and of jobs."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, NoCredentialsError
from fastapi import FastAPI
from httpx import AsyncClient
from prometheus_client import REGISTRY
from pydantic import SecretStr

from app.core.db import Database
from app.core.jobs import Job, JobFailed, export_last_runs
from app.core.storage import Storage, StoreFailed
from app.core.storage._s3_reasons import explain_exception, explain_response
from app.users.passwords import PasswordHasher
from tests.support.metrics import RecordedMetrics
from tests.support.resources import replace_resources
from tests.support.settings import UNREACHABLE_DATABASE_URL, make_settings

# Nothing listens on port 1, so connections to it are refused.
UNREACHABLE_STORE = "http://127.0.0.1:1"
# The next tick of the job must not begin while a test runs.
YEAR = timedelta(days=365)
PASSWORD = SecretStr("correct horse battery staple")


def value_of(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def test_call_to_an_unreachable_store_is_a_failure_of_its_operation(
    template_url: str,
) -> None:
    storage = Storage(make_settings(template_url, s3_endpoint_url=UNREACHABLE_STORE))
    metrics = RecordedMetrics()
    with pytest.raises(StoreFailed):
        await storage.ping()
    storage.close()
    assert metrics.increases("storage_failures_total") == {("ping", "unreachable"): 1}
    assert metrics.increases("storage_call_duration_seconds_count") == {("ping",): 1}


@pytest.mark.parametrize(
    ("status", "code", "category"),
    [
        (403, "AccessDenied", "credentials"),
        (404, "NoSuchBucket", "configuration"),
        (301, "PermanentRedirect", "configuration"),
        (507, "507", "capacity"),
        (501, "NotImplemented", "refused"),
        (400, "a code that S3 does not have", "refused"),
        (503, "SlowDown", "busy"),
        (500, "InternalError", "busy"),
    ],
)
def test_failure_has_a_category(status: int, code: str, category: str) -> None:
    response: dict[str, Any] = {
        "Error": {"Code": code},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {}},
    }
    assert explain_response(ClientError(response, "UploadPart")).category == category


def test_missing_credentials_are_a_failure_of_credentials() -> None:
    assert explain_exception(NoCredentialsError()).category == "credentials"


async def test_readiness_check_records_which_backend_fails(
    app: FastAPI, client: AsyncClient
) -> None:
    await client.get("/readyz")
    assert value_of("backend_ready", backend="database") == 1
    replace_resources(app, database=Database(make_settings(UNREACHABLE_DATABASE_URL)))
    await client.get("/readyz")
    assert value_of("backend_ready", backend="database") == 0
    assert value_of("backend_ready", backend="storage") == 1


async def test_hashes_are_counted_until_they_are_finished_or_cancelled() -> None:
    hasher = PasswordHasher()
    hashes = [asyncio.create_task(hasher.hash(PASSWORD)) for _ in range(6)]
    await asyncio.sleep(0)
    # Two threads run hashes, and the others wait. The first ones may already be finished.
    pending = [value_of("password_hashes", state=state) for state in ("running", "waiting")]
    assert pending != [0, 0]
    for task in hashes[3:]:
        task.cancel()
    await asyncio.gather(*hashes, return_exceptions=True)
    hasher.close()
    assert value_of("password_hashes", state="running") == 0
    assert value_of("password_hashes", state="waiting") == 0


@pytest.mark.private_database
async def test_failed_run_of_a_job_keeps_the_time_of_its_last_success(database: Database) -> None:
    errors: list[JobFailed] = []

    async def work(_: None) -> str:
        if errors:
            raise errors.pop()
        return "done"

    job = Job("metered", YEAR, work)
    await job.run(database, None, even_if_done=True)
    await export_last_runs([job], database.reads)
    succeeded_at = value_of("job_last_success_timestamp_seconds", job_name="metered")
    assert value_of("job_last_run_failed", job_name="metered") == 0

    errors.append(JobFailed("the store is full"))
    with pytest.raises(JobFailed):
        await job.run(database, None, even_if_done=True)
    await export_last_runs([job], database.reads)
    assert value_of("job_last_run_failed", job_name="metered") == 1
    assert value_of("job_last_success_timestamp_seconds", job_name="metered") == succeeded_at
    next_tick = job.latest_tick() + YEAR
    assert value_of("job_due_timestamp_seconds", job_name="metered") == next_tick.timestamp()
    assert succeeded_at == pytest.approx(datetime.now(UTC).timestamp(), abs=600)
