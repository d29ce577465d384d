"""The job `sweep-tokens`, which deletes expired tokens and attempt counters."""

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
ADD_COUNTER = """
INSERT INTO attempt_counters (kind, digest, attempted_at, empty_at, counted_until, known_until)
VALUES (
    :kind, sha256(convert_to(:name, 'UTF8')), now(), now() + CAST(:empty_in AS interval),
    now() + CAST(:counted_for AS interval), now() + CAST(:known_for AS interval)
) RETURNING kind
"""
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)


async def test_sweep_deletes_only_expired_tokens_and_counters(
    database: Database, settings: Settings, storage: Storage
) -> None:
    user = await add_user(database)
    tokens = []
    for lifetime in (-HOUR, 0 * SECOND, SECOND):
        digest = secret.compute_token_digest(await add_token(database, user))
        tokens.append(await fetch_value(database, SET_EXPIRY, digest=digest, lifetime=lifetime))
    for kind, name, empty_in, counted_for, known_for in (
        ("account", "expired", -SECOND, None, None),
        ("pair", "expired", -HOUR, -SECOND, -SECOND),
        ("account", "with a level", HOUR, None, None),
        ("pair", "counted for the network", -SECOND, HOUR, None),
        ("pair", "known", -SECOND, -SECOND, HOUR),
    ):
        await fetch_value(
            database,
            ADD_COUNTER,
            kind=kind,
            name=name,
            empty_in=empty_in,
            counted_for=counted_for,
            known_for=known_for,
        )
    [sweep] = [job for job in JOBS if job.name == "sweep-tokens"]
    assert sweep.interval == HOUR
    for outcome in (
        "2 expired tokens, 2 expired attempt counters",
        "0 expired tokens, 0 expired attempt counters",
    ):
        assert await sweep.work(JobContext(settings, database, storage)) == outcome
        assert await fetch_value(database, "SELECT array_agg(id) FROM tokens") == tokens[-1:]
        assert await fetch_value(database, "SELECT count(*) FROM users") == 1
        assert await fetch_value(database, "SELECT count(*) FROM attempt_counters") == 3
        count_expired = "SELECT count(*) FROM attempt_counters WHERE expires_at < now()"
        assert await fetch_value(database, count_expired) == 0
