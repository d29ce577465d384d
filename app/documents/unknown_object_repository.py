"""The SQL of unknown objects: objects in the store that have no row in `stored_objects`."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from app.core.db import Session, delete_by_table_scan
from app.documents.models import UnknownObject


class UnknownObjectRepository:
    """Reads and writes the rows of unknown objects. An audit is identified by its start time."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def mark_audited(self, keys: Sequence[str], audited_at: datetime) -> set[str]:
        """Set the last audit of the objects with these keys. Return the keys that have a row."""
        statement = (
            sa.update(UnknownObject)
            .where(UnknownObject.key.in_(keys))
            .values(audited_at=audited_at)
            .returning(UnknownObject.key)
        )
        rows = await self._session.execute(statement)
        return {row["key"] for row in rows}

    async def create(self, keys: Sequence[str], audited_at: datetime) -> None:
        """Insert the rows of objects that an audit has found."""
        rows = [{"key": key, "audited_at": audited_at} for key in keys]
        statement = sa.insert(UnknownObject).values(rows).returning(UnknownObject.key)
        await self._session.execute(statement)

    async def delete_others(self, audited_at: datetime) -> int:
        """Delete the rows of objects that an audit has not seen. Return their number.

        They were removed from the store, or have a row in `stored_objects` again.
        """
        was_not_seen = UnknownObject.audited_at != audited_at
        return await delete_by_table_scan(self._session, UnknownObject, was_not_seen)

    async def count(self) -> int:
        """Return the number of unknown objects that the last audit has seen."""
        statement = sa.select(sa.func.count().label("count")).select_from(UnknownObject)
        [row] = await self._session.execute(statement)
        count: int = row["count"]
        return count
