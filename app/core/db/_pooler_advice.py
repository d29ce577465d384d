"""Sentences for the log and for /readyz if DB_POOLER does not describe the connection pooler."""

from typing import Final

POOLER_ADVICE: Final = (
    "set DB_POOLER to transaction-prepared (PgBouncer 1.21 or newer in transaction mode, with "
    "max_prepared_statements > 0) or to transaction (all other poolers)"
)
# Reasons why a connection cannot be used. They continue a sentence about the database.
REJECTS_SETTINGS: Final = (
    f"rejects the settings of connections. If it is a connection pooler, {POOLER_ADVICE}"
)
IGNORES_SETTINGS: Final = (
    f"is a connection pooler that ignores the settings of connections: {POOLER_ADVICE}"
)
SHARES_CONNECTIONS: Final = (
    f"is a connection pooler that shares connections between clients: {POOLER_ADVICE}"
)
KEEPS_NO_STATEMENTS: Final = (
    "is a connection pooler that does not keep prepared statements, although DB_POOLER is "
    "transaction-prepared: use PgBouncer 1.21 or newer in transaction mode, with "
    "max_prepared_statements > 0, or set DB_POOLER to transaction"
)
# Warnings about a connection that can be used.
UNEXPECTED_POOLER: Final = (
    "a connection pooler or proxy is between the service and Postgres. If it is in transaction "
    f"mode, {POOLER_ADVICE}"
)
MISSING_TIMEOUT: Final = (
    "the database role has no statement_timeout, and the service cannot set it behind a pooler: "
    "use ALTER ROLE ... SET statement_timeout and lock_timeout, as deploy/roles.sql does"
)
