"""Counters of failed logins, which slow down the guessing of passwords."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import sqlalchemy as sa

from app.core.db import Rows, RowsToChange, Session, delete_in_batches
from app.users.models import LoginFailure

# Failed logins in a row before the next one has to wait.
MAX_ACCOUNT_FAILURES: Final = 10
MAX_ADDRESS_FAILURES: Final = 50
MAX_WAIT_SECONDS: Final = 15 * 60
EXPIRY_HOURS: Final = 1  # since the last failure

# SQL fragments that the statements of `LoginFailureRepository` share. The values inserted into them
# are constants of this module.

# Computes the primary key of the counter of each subject. For example, the subject
# ('account', 'ada@example.com') has the counter ('account', <SHA-256 of the user's id>). An account
# is identified by the user's id, so that its failures are still counted after a change of the
# email, or by the email if the user does not exist. The database computes the digest, because only
# the database knows which emails are equal. The digest of an id never equals that of a name,
# because the first of the 8 bytes of an id is NUL.
_WITH_COUNTER_KEYS = """
    WITH counter_keys AS (
        SELECT subject.kind, sha256(coalesce(
            (SELECT int8send(users.id) FROM users
             WHERE fold_case(users.email) = fold_case(subject.name)),
            convert_to(fold_case(subject.name), 'UTF8')
        )) AS digest
        FROM unnest(CAST(:kinds AS text[]), CAST(:names AS text[])) AS subject (kind, name)
    )"""
# How far the failures of a counter exceed their limit, for example 1 if an account has 11 failures.
# Negative below the limit.
_FAILURES_ABOVE_LIMIT = f"""
    (login_failures.failures - CASE login_failures.kind
        WHEN 'account' THEN {MAX_ACCOUNT_FAILURES} WHEN 'address' THEN {MAX_ADDRESS_FAILURES}
        WHEN 'current' THEN {MAX_ACCOUNT_FAILURES}
    END)"""
# The time at which a counter allows the next attempt. The inner least() keeps power() from
# overflowing.
_BLOCKED_UNTIL = f"""
    CASE WHEN {_FAILURES_ABOVE_LIMIT} >= 0 THEN
        login_failures.failed_at + make_interval(
            secs => least({MAX_WAIT_SECONDS}, power(2, least({_FAILURES_ABOVE_LIMIT}, 20)))
        )
    ELSE '-infinity' END"""
_expired_counters: Final = RowsToChange(
    LoginFailure,
    LoginFailure.failed_at < sa.func.now() - timedelta(hours=EXPIRY_HOURS),
    order_by=LoginFailure.failed_at,
)


class LoginFailureRepository:
    """Counts the failed logins of accounts and of client addresses.

    The counters are in the database, so that all processes share them. A counter that has reached
    its limit blocks further attempts for a time that doubles with every failure. For an account:

        failures             9  10  11  12  13 ...  19  20 and more
        seconds to wait      0   1   2   4   8 ... 512  900

    `subjects` are the account and the client address for which an attempt is counted, for example
    `{"account": "ada@example.com", "address": "192.0.2.1"}`. A wrong `current_password` is counted
    for the access token, for example `{"current": "token 0193..."}`. The table stores only digests.
    """

    def __init__(self, session: Session) -> None:
        self.session = session

    async def record_attempt(self, subjects: Mapping[str, str]) -> int:
        """Count a login attempt as a failure before its password is checked.

        Returns 0 if the attempt was counted, so that the password may be checked. If the account or
        the address is blocked, counts nothing and returns the number of seconds to wait. Example
        with two attempts in the same second:

            failures of the account  failures of the address  returned
            9 -> 10                  3 -> 4                   0
            10 (blocked)             4 (not counted)          1

        `subjects` are for example `{"account": "ada@example.com", "address": "192.0.2.1"}`.
        """
        counted_kinds = await self._increment_failures(subjects)
        if counted_kinds == subjects.keys():
            return 0
        # A concurrent attempt may have blocked one subject after the other one was counted.
        if counted_kinds:
            await self._decrement_failures({kind: subjects[kind] for kind in counted_kinds})
        return await self._compute_seconds_to_wait(subjects)

    async def record_success(self, subjects: Mapping[str, str]) -> None:
        """Undo `record_attempt`, which counted a failure, after the login has succeeded.

        Deletes the counter of the account, and subtracts 1 from the failures of the address. The
        address keeps its earlier failures, because those may have been attempts at other accounts.
        """
        # The condition on `deleted` is always true. It makes Postgres run the DELETE first, so that
        # the account is locked before the address. Attempts lock them in the same order. With
        # another order, concurrent logins could deadlock.
        statement = f"""
            {_WITH_COUNTER_KEYS},
            deleted AS (
                DELETE FROM login_failures USING counter_keys
                WHERE login_failures.kind = counter_keys.kind
                    AND login_failures.digest = counter_keys.digest
                    AND login_failures.kind IN ('account', 'current')
                RETURNING login_failures.kind
            )
            UPDATE login_failures SET failures = login_failures.failures - 1
            FROM counter_keys
            WHERE login_failures.kind = counter_keys.kind
                AND login_failures.digest = counter_keys.digest
                AND login_failures.kind = 'address'
                AND login_failures.failures > 0
                AND (SELECT count(*) FROM deleted) >= 0
        """  # noqa: S608 - inserts only constants
        await self._execute(statement, subjects)

    async def delete_expired_counters(self) -> int:
        """Delete the counters of subjects without a failed login in the last hour.

        Returns the number of deleted counters.
        """
        return await delete_in_batches(self.session, _expired_counters)

    async def _increment_failures(self, subjects: Mapping[str, str]) -> set[str]:
        """Add 1 to the failures of the account and of the address, unless one of them is blocked.

        Returns the kinds of the subjects that were counted: `{"account", "address"}`, or an empty
        set if one of them was blocked. If a concurrent attempt blocks one of them during the
        statement, only the other one is counted, and the caller has to decrement its failures.

        The count of a subject starts again at 1 if its last failed login is more than an hour ago.
        """
        # NOT EXISTS selects neither subject if one of them is blocked. ON CONFLICT waits for a
        # concurrent attempt that writes the same row. If that attempt has blocked the subject, the
        # last WHERE skips the row.
        statement = f"""
            INSERT INTO login_failures (kind, digest)
            {_WITH_COUNTER_KEYS}
            SELECT kind, digest FROM counter_keys
            WHERE NOT EXISTS (
                SELECT FROM login_failures JOIN counter_keys USING (kind, digest)
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
        """  # noqa: S608 - inserts only constants
        counted_rows = await self._execute(statement, subjects)
        return {row["kind"] for row in counted_rows}

    async def _decrement_failures(self, subjects: Mapping[str, str]) -> None:
        """Subtract 1 from the failures of these subjects, which were counted by mistake."""
        statement = f"""
            {_WITH_COUNTER_KEYS}
            UPDATE login_failures SET failures = login_failures.failures - 1
            FROM counter_keys
            WHERE login_failures.kind = counter_keys.kind
                AND login_failures.digest = counter_keys.digest
                AND login_failures.failures > 0
        """  # noqa: S608 - inserts only constants
        await self._execute(statement, subjects)

    async def _compute_seconds_to_wait(self, subjects: Mapping[str, str]) -> int:
        """Return the number of seconds until all subjects may try again, at least 1.

        The time is rounded up, so that a client that waits for this time is not refused again.
        """
        statement = f"""
            {_WITH_COUNTER_KEYS}
            SELECT
                CAST(ceil(extract(epoch FROM max({_BLOCKED_UNTIL}) - now())) AS integer) AS seconds
            FROM login_failures JOIN counter_keys USING (kind, digest)
            WHERE {_BLOCKED_UNTIL} > now()
        """  # noqa: S608 - inserts only constants
        [row] = await self._execute(statement, subjects)
        seconds: int | None = row["seconds"]
        if seconds is None:
            # The last block has ended since the attempt was refused.
            return 1
        return seconds

    async def _execute(self, statement: str, subjects: Mapping[str, str]) -> Rows:
        """Execute a statement that begins with `_WITH_COUNTER_KEYS`, for these subjects."""
        parameters = {"kinds": list(subjects), "names": list(subjects.values())}
        return await self.session.execute(sa.text(statement), parameters)
