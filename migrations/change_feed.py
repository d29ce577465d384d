"""The triggers that record changes of a table in `changes`, the table of the change feed.

Revisions call `record_changes_of`. `make revision` adds the call for the table of a new entity.
Without the setting CHANGE_FEED, an upgrade disables all of these triggers, so that writes do not
pay for a feed that nobody reads.
"""

from typing import Final

from alembic import op
from sqlalchemy import Connection, bindparam, text

# An AFTER trigger of a statement runs once, however many rows the statement has written. Postgres
# also runs it for COPY, and for rows that ON DELETE CASCADE deletes.
RECORD_CHANGES: Final = """
CREATE FUNCTION record_changes_of_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO changes (xid, entity, entity_id, version, kind, owner_id)
        SELECT pg_current_xact_id()::text::bigint, '{table}', id, version + 1, 'deleted', {owner}
        FROM old_rows;
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO changes (xid, entity, entity_id, version, kind, owner_id)
        SELECT pg_current_xact_id()::text::bigint, '{table}', id, version, 'created', {owner}
        FROM new_rows;
    ELSE
        INSERT INTO changes (xid, entity, entity_id, version, kind, owner_id)
        SELECT pg_current_xact_id()::text::bigint, '{table}', id, version, 'updated', {owner}
        FROM new_rows;
    END IF;
    RETURN NULL;
END
$$
"""
# The rows that each trigger passes to the function.
TRANSITION_TABLES: Final = {
    "INSERT": "NEW TABLE AS new_rows",
    "UPDATE": "NEW TABLE AS new_rows",
    "DELETE": "OLD TABLE AS old_rows",
}
TRIGGERS: Final = {
    "INSERT": "record_inserted",
    "UPDATE": "record_updated",
    "DELETE": "record_deleted",
}
HAS_FEED: Final = text("SELECT to_regclass('change_feed') IS NOT NULL")
SELECT_TRIGGERS_TO_SWITCH: Final = text("""
SELECT tgrelid::regclass::text AS table_name, tgname FROM pg_trigger
JOIN pg_class ON pg_class.oid = tgrelid
WHERE tgname IN :names AND relnamespace = current_schema()::regnamespace
AND (tgenabled <> 'D') <> :enabled
ORDER BY 1, 2
""").bindparams(bindparam("names", list(TRIGGERS.values()), expanding=True))
# Changes are missing from now on, or were missing until now, so no reader may continue across this.
DELETE_CHANGES: Final = text("TRUNCATE changes")
START_EPOCH: Final = text(
    "UPDATE change_feed SET is_recording = :enabled, epoch = gen_random_uuid(), first_xid = 0"
)


def record_changes_of(table: str, owner: str = "NULL") -> None:
    """Record all changes of the rows of a table, which has the columns `id` and `version`.

    Args:
        table: The name of the table.
        owner: An SQL expression, such as `owner_id`, for the id of the user who owns a row. Only
            this user, and those who may read the rows of all owners, see the changes of the row.
    """
    op.execute(RECORD_CHANGES.format(table=table, owner=owner))
    for event, trigger in TRIGGERS.items():
        op.execute(
            f"CREATE TRIGGER {trigger} AFTER {event} ON {table}"
            f" REFERENCING {TRANSITION_TABLES[event]}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION record_changes_of_{table}()"
        )


def stop_recording_changes_of(table: str) -> None:
    """Undo `record_changes_of`. A revision that drops the table calls this before."""
    for trigger in TRIGGERS.values():
        op.execute(f"DROP TRIGGER {trigger} ON {table}")
    op.execute(f"DROP FUNCTION record_changes_of_{table}()")


def switch_change_feed(connection: Connection, *, enabled: bool) -> None:
    """Enable or disable the triggers of all tables, if they are not in this state already.

    If anything is switched, the feed starts again without changes. This waits until no transaction
    is open that has written to the tables or reads the feed, but not for other reads.
    """
    if not connection.scalar(HAS_FEED):
        return
    triggers = connection.execute(SELECT_TRIGGERS_TO_SWITCH, {"enabled": enabled}).all()
    action = "ENABLE" if enabled else "DISABLE"
    for table, trigger in triggers:
        connection.exec_driver_sql(f"ALTER TABLE {table} {action} TRIGGER {trigger}")
    if triggers:
        connection.execute(DELETE_CHANGES)
        connection.execute(START_EPOCH, {"enabled": enabled})
