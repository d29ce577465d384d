"""The counters of failed logins, which decide whether the password of a login may be checked.

Three counters (see `attempt_counters.py`) count each failed login:

    kind     counts the failures of                       limit
    pair     one account from one network                 PAIR_LIMIT
    network  different accounts from one network          NETWORK_LIMIT
    account  one account from all networks                ACCOUNT_LIMIT

A pair is known for 30 days after the owner of the account has logged in from the network. A correct
password is accepted at a known pair even if the network or the account is full.
"""

from typing import Final, NamedTuple

import sqlalchemy as sa

from app.core.db import Session
from app.users.attempt_counters import AttemptLimit

PAIR_LIMIT: Final = AttemptLimit(burst=10, seconds_per_attempt=600)
NETWORK_LIMIT: Final = AttemptLimit(burst=100, seconds_per_attempt=300)
ACCOUNT_LIMIT: Final = AttemptLimit(burst=30, seconds_per_attempt=600)
# Failures of the same pair within this time count for the network only once.
PAIR_COUNTS_AGAIN_HOURS: Final = 1
KNOWN_DAYS: Final = 30
# An attempt may still be in progress for this time after it was counted. If it succeeds, the
# counter has room again, so others are told to retry after this time.
PROGRESS_SECONDS: Final = 3

# SQL fragments of `LoginAttemptRepository`. The values inserted into them are constants.

# The state of the three counters before the attempt. For example, the counter of the account
# ada@example.com has the digest sha256(<id of the user>). An account is identified by the id of
# the user, so that its failures are still counted after a change of the email, or by the email if
# the user does not exist. The database computes the digest, because only the database knows which
# emails are equal. The digest of an id never equals that of an email, because the first of the 8
# bytes of an id is NUL.
_WITH_STATES: Final = f"""
    WITH account (name) AS (
        SELECT coalesce(
            (SELECT int8send(users.id) FROM users
             WHERE fold_case(users.email) = fold_case(CAST(:email AS text))),
            convert_to(fold_case(CAST(:email AS text)), 'UTF8')
        )
    ),
    digests (account, network) AS (
        SELECT sha256(account.name), sha256(convert_to(CAST(:network AS text), 'UTF8')) FROM account
    ),
    limits (kind, digest, full_seconds) AS (
        SELECT 'pair', sha256(account || network), {PAIR_LIMIT.full_seconds} FROM digests
        UNION ALL SELECT 'network', network, {NETWORK_LIMIT.full_seconds} FROM digests
        UNION ALL SELECT 'account', account, {ACCOUNT_LIMIT.full_seconds} FROM digests
    ),
    states AS (
        SELECT kind, digest, known_until, attempted_at,
            extract(epoch FROM empty_at - now()) - full_seconds AS seconds_to_wait
        FROM limits LEFT JOIN attempt_counters USING (kind, digest)
    )"""  # noqa: S608 - inserts only constants


def _upsert(limit: AttemptLimit, other_columns: str = "") -> str:
    """Return the clause that adds an attempt to an existing counter, unless the counter is full.

    The row that could not be inserted, `excluded`, is that of a counter with only this attempt.
    """
    return f"""
        ON CONFLICT (kind, digest) DO UPDATE SET
            empty_at = greatest(counter.empty_at, now()) + (excluded.empty_at - now()),
            attempted_at = now()
            {other_columns}
        WHERE counter.empty_at <= now() + make_interval(secs => {limit.full_seconds})
    """


# The counters are locked in the same order by all statements, so that they cannot deadlock: the
# pair, the network and the account. Each INSERT reads the result of the previous one, so Postgres
# executes them in this order, and an attempt that one counter refuses is not counted by the next.
# ON CONFLICT waits for a concurrent attempt that writes the same counter, and then checks the limit
# again. NOT EXISTS reads the states without a lock, so that attempts at a full counter neither
# write anything nor wait for each other.
_RECORD: Final = f"""
    {_WITH_STATES},
    counted_pair AS (
        INSERT INTO attempt_counters AS counter (
            kind, digest, attempted_at, empty_at, counted_until
        )
        SELECT kind, digest, now(), now() + interval '{PAIR_LIMIT.seconds_per_attempt} seconds',
            now() + interval '{PAIR_COUNTS_AGAIN_HOURS} hours'
        FROM states
        WHERE kind = 'pair' AND NOT EXISTS (SELECT FROM states WHERE seconds_to_wait > 0)
        {
    _upsert(
        PAIR_LIMIT,
        '''
            , counted_until = CASE
                WHEN counter.counted_until > now() THEN counter.counted_until
                ELSE excluded.counted_until
            END
        ''',
    )
}
        RETURNING counted_until = now() + interval '{PAIR_COUNTS_AGAIN_HOURS} hours'
            AS counts_for_network
    ),
    counted_network AS (
        INSERT INTO attempt_counters AS counter (kind, digest, attempted_at, empty_at)
        SELECT kind, digest, now(), now() + CASE
            WHEN counts_for_network THEN interval '{NETWORK_LIMIT.seconds_per_attempt} seconds'
            ELSE interval '0'
        END
        FROM counted_pair, states WHERE kind = 'network'
        {_upsert(NETWORK_LIMIT)}
        RETURNING kind
    ),
    counted_account AS (
        INSERT INTO attempt_counters AS counter (kind, digest, attempted_at, empty_at)
        SELECT states.kind, digest, now(), now() + interval '{
    ACCOUNT_LIMIT.seconds_per_attempt
} seconds'
        FROM counted_network, states WHERE states.kind = 'account'
        {_upsert(ACCOUNT_LIMIT)}
        RETURNING kind
    )
    SELECT EXISTS (SELECT FROM counted_account) AS is_counted,
        coalesce((SELECT counts_for_network FROM counted_pair), false) AS counts_for_network,
        coalesce(pair.seconds_to_wait > 0, false) AS is_pair_full,
        coalesce(pair.known_until > now(), false) AS is_known,
        (SELECT CAST(ceil(greatest(max(CASE
            WHEN attempted_at > now() - interval '{PROGRESS_SECONDS} seconds'
            THEN least(seconds_to_wait, {PROGRESS_SECONDS})
            ELSE seconds_to_wait
        END), 0)) AS integer) FROM states) AS seconds_to_wait,
        pair.digest AS pair_digest, network.digest AS network_digest,
        account.digest AS account_digest
    FROM states AS pair, states AS network, states AS account
    WHERE pair.kind = 'pair' AND network.kind = 'network' AND account.kind = 'account'
"""  # noqa: S608 - inserts only constants
# The conditions on `count(*)` are always true. They make Postgres lock the counters in order.
_UNDO: Final = f"""
    WITH pair AS (
        UPDATE attempt_counters
        SET empty_at = empty_at - interval '{PAIR_LIMIT.seconds_per_attempt} seconds',
            counted_until = CASE WHEN NOT :counts_for_network THEN counted_until END,
            known_until = CASE
                WHEN :has_succeeded THEN now() + interval '{KNOWN_DAYS} days' ELSE known_until
            END
        WHERE kind = 'pair' AND digest = :pair_digest
        RETURNING kind
    ),
    network AS (
        UPDATE attempt_counters
        SET empty_at = empty_at - interval '{NETWORK_LIMIT.seconds_per_attempt} seconds'
        WHERE kind = 'network' AND digest = :network_digest AND :counts_for_network
            AND (SELECT count(*) FROM pair) >= 0
        RETURNING kind
    )
    UPDATE attempt_counters
    SET empty_at = empty_at - interval '{ACCOUNT_LIMIT.seconds_per_attempt} seconds'
    WHERE kind = 'account' AND digest = :account_digest AND (SELECT count(*) FROM network) >= 0
"""  # noqa: S608 - inserts only constants
_EXTEND_KNOWN: Final = f"""
    UPDATE attempt_counters SET known_until = now() + interval '{KNOWN_DAYS} days'
    WHERE kind = 'pair' AND digest = :pair_digest
"""  # noqa: S608 - inserts only constants


class LoginAttempt(NamedTuple):
    """The decision about one attempt to log in, and the counters that have counted it."""

    # All counters had room. The attempt is counted, and the password may be checked.
    is_counted: bool
    # The attempt is the first failure of the pair in an hour, so the network has counted it too.
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
        while True:
            parameters = {"email": email, "network": network}
            [row] = await self._session.execute(sa.text(_RECORD), parameters)
            attempt = LoginAttempt(**row)
            # Neither is the case if a concurrent attempt has filled a counter after the states were
            # read. Read them again to compute the time to wait.
            if attempt.is_counted or attempt.seconds_to_wait > 0:
                return attempt

    async def record_success(self, attempt: LoginAttempt) -> None:
        """Undo the count of an attempt that has succeeded, and mark its pair as known.

        Earlier failures stay counted. Otherwise, somebody in the same network could see that the
        owner of an account has logged in, and would get new guesses each time.
        """
        await self._undo(attempt, has_succeeded=True)

    async def undo(self, attempt: LoginAttempt) -> None:
        """Undo the count of an attempt whose password was not checked."""
        await self._undo(attempt, has_succeeded=False)

    async def extend_known(self, attempt: LoginAttempt) -> None:
        """Mark the pair as known from now on, after a success that no counter has counted."""
        await self._session.execute(sa.text(_EXTEND_KNOWN), {"pair_digest": attempt.pair_digest})

    async def _undo(self, attempt: LoginAttempt, *, has_succeeded: bool) -> None:
        parameters = {
            "counts_for_network": attempt.counts_for_network,
            "has_succeeded": has_succeeded,
            "pair_digest": attempt.pair_digest,
            "network_digest": attempt.network_digest,
            "account_digest": attempt.account_digest,
        }
        await self._session.execute(sa.text(_UNDO), parameters)
