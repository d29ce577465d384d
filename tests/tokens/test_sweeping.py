"""The job that removes what counts no more, and nothing else."""

from datetime import timedelta

from app.core.db import Database
from app.core.storage import Storage
from app.settings import Settings
from app.tokens import secret
from app.worker import JOBS, JobContext
from tests.support.accounts import add_token, add_user, fetch_value

TOKEN = """
UPDATE tokens SET expires_at = now() + CAST(:left AS interval)
WHERE digest = :digest RETURNING id
"""
FAILURE = """
INSERT INTO login_failures (kind, digest, failures, failed_at)
VALUES (:kind, sha256(convert_to(:name, 'UTF8')), :failures, now() - CAST(:ago AS interval))
RETURNING kind
"""
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


async def test_expired_tokens_and_old_failures_go_and_nothing_else(
    database: Database, settings: Settings, storage: Storage
) -> None:
    user = await add_user(database)
    tokens = []
    for left in (-HOUR, 0 * SECOND, SECOND):
        digest = secret.token_digest(await add_token(database, user))
        tokens.append(await fetch_value(database, TOKEN, digest=digest, left=left))
    for kind, name, failures, ago in (
        ("account", "old", 1, HOUR + SECOND),
        ("address", "old", 99, HOUR + SECOND),
        ("account", "new", 0, HOUR - SECOND),
        ("address", "new", 99, HOUR - SECOND),
    ):
        await fetch_value(database, FAILURE, kind=kind, name=name, failures=failures, ago=ago)
    [sweep] = [job for job in JOBS if job.name == "sweep-tokens"]
    assert sweep.interval == HOUR
    for said in (
        "2 expired tokens, 2 expired login failures",
        "0 expired tokens, 0 expired login failures",
    ):
        assert await sweep.work(JobContext(settings, database, storage)) == said
        assert await fetch_value(database, "SELECT array_agg(id) FROM tokens") == tokens[-1:]
        assert await fetch_value(database, "SELECT count(*) FROM users") == 1
        new = "SELECT count(*) FROM login_failures WHERE digest = sha256('new'::bytea)"
        assert await fetch_value(database, new) == 2
        assert await fetch_value(database, "SELECT count(*) FROM login_failures") == 2
