"""The migrations of the database schema.

`env.py` runs the revisions in `versions/`, with `sessions.py` (the lock on upgrades, the timeouts),
`retries.py` (repeats revisions that cannot lock a table), `lock_waits.py` (names the sessions that
block an upgrade), `invalid_indexes.py` and `contracts.py` (records which code can use the schema).
`new_revisions.py` and `safe_ddl.py` write new ones.
"""
