"""The counters of failed logins, which decide whether the password of a login may be checked.

Each attempt is counted as a failure before its password is checked, and a success undoes this
afterwards. Three counters (see `attempt_counters.py`) count it, or none of them if one is full:

    kind     counts                                                  limit
    pair     the failures of an account from a network               PAIR_LIMIT
    network  the accounts that have failed from it in the last hour  NETWORK_LIMIT
    account  the failures of an account from all networks            ACCOUNT_LIMIT

For example, these are the levels of the counters during attempts from a network, as far as they do
not fall in the meantime:

    attempt                     pair of Ada  pair of Bob  network  account of Ada  account of Bob
    Ada sends a wrong password            1            0        1               1               0
    Ada sends a wrong password            2            0        1               2               0
    Bob sends a wrong password            2            1        2               2               1
    Ada's password is checked             3            1        2               3               1
    Ada's password was correct            2            1        2               2               1

The pair of Ada is now known for 30 days. If the network or the account is full,
`CredentialVerifier` still checks passwords at a known pair. Those attempts have a counter of their
own, which does not change the three counters above.
"""

from datetime import timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from app.core.db import Session
from app.users.attempt_counters import AttemptLimit

PAIR_LIMIT: Final = AttemptLimit(burst=10, step=timedelta(minutes=10))
NETWORK_LIMIT: Final = AttemptLimit(burst=100, step=timedelta(minutes=5))
ACCOUNT_LIMIT: Final = AttemptLimit(burst=30, step=timedelta(minutes=10))
# The parameters of the SQL statements below. `attempt_counters.py` explains `step` and `full_time`.
_TIMES: Final = {
    "pair_step": PAIR_LIMIT.step,
    "pair_full_time": PAIR_LIMIT.full_time,
    "network_step": NETWORK_LIMIT.step,
    "network_full_time": NETWORK_LIMIT.full_time,
    "account_step": ACCOUNT_LIMIT.step,
    "account_full_time": ACCOUNT_LIMIT.full_time,
    # Failures of the same pair within this time count for the network only once.
    "counted_time": timedelta(hours=1),
    "known_time": timedelta(days=30),
    # An attempt may still be in progress for this time after it was counted. If it succeeds, the
    # counter has room again, so others are told to retry after this time.
    "progress_time": timedelta(seconds=3),
}

# ON CONFLICT waits for a concurrent attempt that writes the same counter, and then checks the limit
# of the changed counter. All statements lock the pair, the network and the account in this order,
# so that they cannot deadlock. A parameter has a CAST where Postgres could not infer its type.
_COUNT_ATTEMPT: Final = sa.text("""
    WITH
    -- The account is identified by the id of the user, so that its failures are still counted after
    -- a change of the email, or by the email if the user does not exist. An id and an email are
    -- never equal, because the first of the 8 bytes of an id is NUL. Only the database knows which
    -- emails are equal.
    account (name) AS (
        SELECT coalesce(
            (SELECT int8send(id) FROM users WHERE fold_case(email) = fold_case(:email)),
            convert_to(fold_case(:email), 'UTF8')
        )
    ),
    digests (account, network) AS (
        SELECT sha256(name), sha256(convert_to(:network, 'UTF8')) FROM account
    ),
    limits (kind, digest, full_time) AS (
        SELECT 'pair', sha256(account || network), CAST(:pair_full_time AS interval) FROM digests
        UNION ALL SELECT 'network', network, CAST(:network_full_time AS interval) FROM digests
        UNION ALL SELECT 'account', account, CAST(:account_full_time AS interval) FROM digests
    ),
    -- The three counters before the attempt. The times are NULL if a counter does not exist yet.
    counters AS (
        SELECT kind, digest, known_until, has_room_at,
            CASE
                WHEN attempted_at + :progress_time > now()
                THEN least(has_room_at, now() + :progress_time)
                ELSE has_room_at
            END AS retry_at
        FROM limits LEFT JOIN attempt_counters USING (kind, digest)
            CROSS JOIN LATERAL (SELECT empty_at - full_time AS has_room_at) AS times
    ),
    -- If the counters that were read above are full, nothing is inserted. They were read without a
    -- lock, so attempts at a full counter do not wait for each other.
    counted_pair AS (
        INSERT INTO attempt_counters AS counter
            (kind, digest, attempted_at, empty_at, counted_until)
        SELECT kind, digest, now(), now() + :pair_step, now() + :counted_time
        FROM counters
        WHERE kind = 'pair' AND NOT EXISTS (SELECT FROM counters WHERE has_room_at > now())
        ON CONFLICT (kind, digest) DO UPDATE SET
            attempted_at = now(),
            empty_at = greatest(counter.empty_at, now()) + :pair_step,
            counted_until = CASE
                WHEN counter.counted_until > now() THEN counter.counted_until
                ELSE now() + :counted_time
            END
        WHERE counter.empty_at <= now() + :pair_full_time
        -- The network counts the attempt too if it is the first of the pair in an hour. In this
        -- case, this statement has just set `counted_until`.
        RETURNING CASE
            WHEN counted_until = now() + :counted_time THEN :network_step
            ELSE interval '0'
        END AS network_step
    ),
    counted_network AS (
        INSERT INTO attempt_counters AS counter (kind, digest, attempted_at, empty_at)
        SELECT kind, digest, now(), now() + network_step
        FROM counters, counted_pair
        WHERE kind = 'network'
        ON CONFLICT (kind, digest) DO UPDATE SET
            attempted_at = now(),
            empty_at = greatest(counter.empty_at, now()) + (SELECT network_step FROM counted_pair)
        WHERE counter.empty_at <= now() + :network_full_time
        RETURNING kind
    ),
    counted_account AS (
        INSERT INTO attempt_counters AS counter (kind, digest, attempted_at, empty_at)
        SELECT counters.kind, digest, now(), now() + :account_step
        FROM counters, counted_network
        WHERE counters.kind = 'account'
        ON CONFLICT (kind, digest) DO UPDATE SET
            attempted_at = now(),
            empty_at = greatest(counter.empty_at, now()) + :account_step
        WHERE counter.empty_at <= now() + :account_full_time
        RETURNING kind
    )
    SELECT
        EXISTS (SELECT FROM counted_account) AS is_counted,
        EXISTS (SELECT FROM counted_network) AS is_counted_by_network,
        EXISTS (SELECT FROM counted_pair) AS is_counted_by_pair,
        EXISTS (SELECT FROM counted_pair WHERE network_step > interval '0') AS counts_for_network,
        coalesce(pair.has_room_at > now(), false) AS is_pair_full,
        coalesce(pair.known_until > now(), false) AS is_known,
        (
            SELECT CAST(greatest(ceil(extract(epoch FROM max(retry_at) - now())), 0) AS integer)
            FROM counters
        ) AS seconds_to_wait,
        pair.digest AS pair_digest,
        network.digest AS network_digest,
        account.digest AS account_digest
    FROM counters AS pair, counters AS network, counters AS account
    WHERE pair.kind = 'pair' AND network.kind = 'network' AND account.kind = 'account'
""")
_UNDO_ATTEMPT: Final = sa.text("""
    WITH
    undone_pair AS (
        UPDATE attempt_counters SET
            empty_at = empty_at - CAST(:pair_step AS interval),
            counted_until = CASE WHEN NOT :counts_for_network THEN counted_until END,
            known_until = CASE WHEN :has_succeeded THEN now() + :known_time ELSE known_until END
        WHERE kind = 'pair' AND digest = :pair_digest
        RETURNING kind
    ),
    -- The conditions on count(*) are always true. They make Postgres lock the counters in order.
    undone_network AS (
        UPDATE attempt_counters SET empty_at = empty_at - CAST(:network_step AS interval)
        WHERE kind = 'network' AND digest = :network_digest
            AND :is_counted_by_network AND :counts_for_network
            AND (SELECT count(*) FROM undone_pair) >= 0
        RETURNING kind
    )
    UPDATE attempt_counters SET empty_at = empty_at - CAST(:account_step AS interval)
    WHERE kind = 'account' AND digest = :account_digest AND :is_counted
        AND (SELECT count(*) FROM undone_network) >= 0
""")
_EXTEND_KNOWN: Final = sa.text("""
    UPDATE attempt_counters SET known_until = now() + :known_time
    WHERE kind = 'pair' AND digest = :pair_digest
""")


class LoginAttempt(NamedTuple):
    """The decision about one attempt to log in, and the counters that have counted it."""

    # All counters had room. The attempt is counted, and the password may be checked.
    is_counted: bool
    # The network and the pair have counted the attempt. They may have done so although the attempt
    # is not counted as a whole, because a concurrent attempt has just filled another counter.
    is_counted_by_network: bool
    is_counted_by_pair: bool
    # The attempt is the first failure of the pair in an hour, so the network counts it, too.
    counts_for_network: bool
    # The counter of the pair is full.
    is_pair_full: bool
    # The owner of the account has logged in from the network in the last 30 days.
    is_known: bool
    # The time until all counters have room, rounded up, or until attempts in progress have ended.
    # 0 if the attempt is counted.
    seconds_to_wait: int
    pair_digest: bytes
    network_digest: bytes
    account_digest: bytes


class LoginAttemptRepository:
    """Counts the failed logins of accounts and networks. The table stores only their digests.

    Nothing that a client can observe depends on whether an account exists or a pair is known, so
    the counters are the same for both. The session must commit each statement by itself.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def record(self, email: str, network: str) -> LoginAttempt:
        """Count an attempt as a failure before its password is checked, if no counter is full.

        `email` need not belong to a user. `network` is for example `192.0.2.1`.
        """
        parameters = {**_TIMES, "email": email, "network": network}
        while True:
            [row] = await self._session.execute(_COUNT_ATTEMPT, parameters)
            attempt = LoginAttempt(**row)
            if attempt.is_counted or attempt.seconds_to_wait > 0:
                return attempt
            # A concurrent attempt has filled a counter after all of them were read. Undo the counts
            # of the others. If the pair stayed counted, further guesses would not count for the
            # network. Then read the counters again to compute the time to wait. The loop ends when
            # the attempt finds the full counter, or when all counters have room again.
            if attempt.is_counted_by_pair:
                await self.undo(attempt)

    async def record_success(self, attempt: LoginAttempt) -> None:
        """Undo the count of an attempt that has succeeded, and mark its pair as known.

        Earlier failures stay counted. Otherwise, somebody in the same network could see that the
        owner of an account has logged in, and would get new guesses each time.
        """
        await self._undo(attempt, has_succeeded=True)

    async def undo(self, attempt: LoginAttempt) -> None:
        """Undo the count of an attempt whose password was not checked.

        Each attempt can be undone only once, by this method or by `record_success`.
        """
        await self._undo(attempt, has_succeeded=False)

    async def extend_known(self, attempt: LoginAttempt) -> None:
        """Mark the pair as known from now on, after a success that no counter has counted."""
        await self._session.execute(_EXTEND_KNOWN, {**_TIMES, "pair_digest": attempt.pair_digest})

    async def _undo(self, attempt: LoginAttempt, *, has_succeeded: bool) -> None:
        parameters = {**_TIMES, **attempt._asdict(), "has_succeeded": has_succeeded}
        await self._session.execute(_UNDO_ATTEMPT, parameters)
