"""The job `sweep-tokens`, which deletes expired tokens and failed logins."""

from datetime import timedelta

from app.core.db import Database
from app.core.storage import Storage
from app.settings import Settings
from app.tokens import secret
from app.worker import JOBS, JobContext
from tests.support.accounts import add_token, add_user, fetch_value

SET_EXPIRY = """
UPDATE tokens SET expires_at = now() + CAST(:lifetime AS interval)
WHERE digest = :digest RETURNING id
"""
ADD_FAILURE = """
INSERT INTO login_failures (kind, digest, failures, failed_at)
VALUES (:kind, sha256(convert_to(:name, 'UTF8')), :failures, now() - CAST(:ago AS interval))
RETURNING kind
"""
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


async def test_sweep_deletes_only_expired_tokens_and_failures(
    database: Database, settings: Settings, storage: Storage
) -> None:
    user = await add_user(database)
    tokens = []
    for lifetime in (-HOUR, 0 * SECOND, SECOND):
        digest = secret.compute_token_digest(await add_token(database, user))
        tokens.append(await fetch_value(database, SET_EXPIRY, digest=digest, lifetime=lifetime))
    for kind, name, failures, ago in (
        ("account", "expired", 1, HOUR + SECOND),
        ("address", "expired", 99, HOUR + SECOND),
        ("account", "recent", 0, HOUR - SECOND),
        ("address", "recent", 99, HOUR - SECOND),
    ):
        await fetch_value(database, ADD_FAILURE, kind=kind, name=name, failures=failures, ago=ago)
    [sweep] = [job for job in JOBS if job.name == "sweep-tokens"]
    assert sweep.interval == HOUR
    for outcome in (
        "2 expired tokens, 2 expired login failures",
        "0 expired tokens, 0 expired login failures",
    ):
        assert await sweep.work(JobContext(settings, database, storage)) == outcome
        assert await fetch_value(database, "SELECT array_agg(id) FROM tokens") == tokens[-1:]
        assert await fetch_value(database, "SELECT count(*) FROM users") == 1
        count_recent = "SELECT count(*) FROM login_failures WHERE digest = sha256('recent'::bytea)"
        assert await fetch_value(database, count_recent) == 2
        assert await fetch_value(database, "SELECT count(*) FROM login_failures") == 2
