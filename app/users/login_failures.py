"""Counters of failed logins, which slow down the guessing of passwords."""

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from app.core.db import Rows, Session

# Failed logins in a row before the next one has to wait.
MAX_ACCOUNT_FAILURES: Final = 10
MAX_ADDRESS_FAILURES: Final = 50
MAX_WAIT_SECONDS: Final = 15 * 60
EXPIRY_HOURS: Final = 1  # since the last failure

# SQL fragments that the statements of `LoginFailureRepository` share. The values inserted into them
# are constants of this module.

# The primary key of the row in which each subject is counted. For example, the subject
# ('account', 'ada@example.com') becomes ('account', <SHA-256 of the user's id>). The id identifies
# an account, so that its failures survive a change of the email, or the email if there is no such
# user. Only the database knows which emails are equal, so it computes the digest. The digest of an
# id never equals that of a name, because the first of the 8 bytes of an id is NUL.
_COUNTERS = """
    counters AS (
        SELECT subject.kind, sha256(coalesce(
            (SELECT int8send(users.id) FROM users WHERE lower(users.email) = lower(subject.name)),
            convert_to(lower(subject.name), 'UTF8')
        )) AS digest
        FROM unnest(CAST(:kinds AS text[]), CAST(:names AS text[])) AS subject (kind, name)
    )"""
# The number of failures that a row has above its limit. Negative below the limit.
_FAILURES_ABOVE_LIMIT = f"""
    (login_failures.failures - CASE login_failures.kind
        WHEN 'account' THEN {MAX_ACCOUNT_FAILURES} WHEN 'address' THEN {MAX_ADDRESS_FAILURES}
    END)"""
# The time at which the next attempt is allowed. The inner least() keeps power() from overflowing.
_BLOCKED_UNTIL = f"""
    CASE WHEN {_FAILURES_ABOVE_LIMIT} >= 0 THEN
        login_failures.failed_at + make_interval(
            secs => least({MAX_WAIT_SECONDS}, power(2, least({_FAILURES_ABOVE_LIMIT}, 20)))
        )
    ELSE '-infinity' END"""


class LoginFailureRepository:
    """Counts the failed logins of accounts and of client addresses.

    The counts are in the database, so that all processes share them. A counter that has reached its
    limit blocks further attempts for a time that doubles with every failure. For an account:

        failures             9  10  11  12  13 ...  19  20 and more
        seconds to wait      0   1   2   4   8 ... 512  900

    `subjects` are the account and the client address for which an attempt is counted, for example
    `{"account": "ada@example.com", "address": "192.0.2.1"}`. The table stores only digests of them.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    async def record_attempt(self, subjects: Mapping[str, str]) -> int:
        """Count an attempt as a failure for all subjects, or for none if one of them is blocked.

        Returns 0 if the attempt was counted, so that the password may be checked. Otherwise returns
        the number of seconds until the next attempt is allowed. Example with two attempts in the
        same second:

            account           address          returned
            9 -> 10 failures  3 -> 4 failures  0
            10, blocked       4, unchanged     1
        """
        counted_kinds = await self._increment_failures(subjects)
        if counted_kinds == subjects.keys():
            return 0
        if counted_kinds:
            await self._decrement_failures({kind: subjects[kind] for kind in counted_kinds})
        return await self._seconds_to_wait(subjects)

    async def record_success(self, subjects: Mapping[str, str]) -> None:
        """Correct the counters after an attempt that was recorded as a failure has succeeded.

        Deletes the row of the account, and subtracts 1 from the failures of the address. The
        address keeps its earlier failures, because those may have been attempts at other accounts.
        """
        # The last condition is always true. It reads the result of the DELETE, so Postgres runs the
        # DELETE first. That locks the account before the address, as `_increment_failures` does.
        # If the orders were different, concurrent logins could deadlock.
        statement = f"""
            WITH {_COUNTERS},
            deleted AS (
                DELETE FROM login_failures USING counters
                WHERE login_failures.kind = counters.kind
                    AND login_failures.digest = counters.digest
                    AND login_failures.kind = 'account'
                RETURNING login_failures.kind
            )
            UPDATE login_failures SET failures = login_failures.failures - 1
            FROM counters
            WHERE login_failures.kind = counters.kind
                AND login_failures.digest = counters.digest
                AND login_failures.kind <> 'account'
                AND login_failures.failures > 0
                AND (SELECT count(*) FROM deleted) >= 0
            RETURNING login_failures.kind
        """  # noqa: S608
        await self._execute(statement, subjects)

    async def delete_expired(self) -> int:
        """Delete the counters without a failure in the last `EXPIRY_HOURS`. Return their number."""
        statement = f"""
            DELETE FROM login_failures
            WHERE failed_at < now() - make_interval(hours => {EXPIRY_HOURS})
            RETURNING kind
        """  # noqa: S608
        rows = await self.session.execute(sa.text(statement))
        return len(rows)

    async def _increment_failures(self, subjects: Mapping[str, str]) -> set[str]:
        """Add 1 to the failures of all subjects, unless one of them is blocked.

        Returns the kinds of the subjects that were counted, for example `{"account", "address"}`,
        or an empty set if one of them was blocked before.

        If a concurrent attempt blocks a subject during the statement, only the other subject is
        counted. The caller then has to take that failure back.
        """
        # NOT EXISTS counts neither subject if one is blocked. ON CONFLICT waits for a concurrent
        # attempt that writes the same row, and skips the row if that attempt has blocked it.
        statement = f"""
            INSERT INTO login_failures (kind, digest)
            WITH {_COUNTERS}
            SELECT kind, digest FROM counters
            WHERE NOT EXISTS (
                SELECT FROM login_failures JOIN counters USING (kind, digest)
                WHERE {_BLOCKED_UNTIL} > now()
            )
            ORDER BY kind
            ON CONFLICT (kind, digest) DO UPDATE SET
                failures = CASE
                    WHEN login_failures.failed_at < now() - make_interval(hours => {EXPIRY_HOURS})
                    THEN 1
                    ELSE login_failures.failures + 1
                END,
                failed_at = now()
            WHERE {_BLOCKED_UNTIL} <= now()
            RETURNING login_failures.kind
        """  # noqa: S608
        rows = await self._execute(statement, subjects)
        return {row["kind"] for row in rows}

    async def _decrement_failures(self, subjects: Mapping[str, str]) -> None:
        """Subtract 1 from the failures of all subjects."""
        statement = f"""
            WITH {_COUNTERS}
            UPDATE login_failures SET failures = login_failures.failures - 1
            FROM counters
            WHERE login_failures.kind = counters.kind
                AND login_failures.digest = counters.digest
                AND login_failures.failures > 0
            RETURNING login_failures.kind
        """  # noqa: S608
        await self._execute(statement, subjects)

    async def _seconds_to_wait(self, subjects: Mapping[str, str]) -> int:
        """Return the number of seconds until no subject is blocked any more, and at least 1."""
        statement = f"""
            WITH {_COUNTERS}
            SELECT
                CAST(ceil(extract(epoch FROM max({_BLOCKED_UNTIL}) - now())) AS integer) AS seconds
            FROM login_failures JOIN counters USING (kind, digest)
            WHERE {_BLOCKED_UNTIL} > now()
        """  # noqa: S608
        rows = await self._execute(statement, subjects)
        seconds: int | None = rows[0]["seconds"]
        if seconds is None:
            # The block has ended since the attempt was refused.
            return 1
        return max(1, seconds)

    async def _execute(self, statement: str, subjects: Mapping[str, str]) -> Rows:
        """Execute a statement that contains `_COUNTERS` for these subjects."""
        parameters = {"kinds": list(subjects), "names": list(subjects.values())}
        return await self.session.execute(sa.text(statement), parameters)
