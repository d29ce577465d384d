"""Many-to-many relationships: replace the rows that are linked to a row."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from app.core.db._constraints import existing_values, missing_row
from app.core.db._models import Base
from app.core.db._sessions import Session
from app.core.errors import Conflict, ConstraintViolated, InvalidRequest, pointer

Links = Mapping[Any, Sequence[Any]]


class LinkTable:
    """The table of a many-to-many relationship, for example `book_tags` of `Book.tags`."""

    def __init__(self, model: type[Base], name: str) -> None:
        """Find the table of the relationship `name` of a mapped class.

        Raises `TypeError` if the relationship is not many-to-many.
        """
        relationship = sa.inspect(model).relationships[name]
        if not isinstance(relationship.secondary, sa.Table):
            raise TypeError(f"{model.__name__}.{name} needs the argument `secondary`.")
        [(_, owner)] = relationship.synchronize_pairs
        [(target, linked)] = relationship.secondary_synchronize_pairs or []
        self._table = relationship.secondary
        self._owner = owner
        self._linked = linked
        self._target_table = relationship.mapper.local_table
        self._target_name = str(target.key)

    async def replace(self, links: Links, session: Session, *, batch: bool) -> None:
        """Link each row to exactly these rows. Takes one statement.

        Raises `InvalidRequest` with a pointer to each row that does not exist: `/tag_ids/1`, or
        `/items/17/tag_ids/1` in a batch. To find them takes a second statement.
        """
        pairs = [(owner, linked) for owner, ids in links.items() for linked in ids]
        statement = self._replace(list(links), pairs)
        try:
            async with session.savepoint():
                await session.execute(statement)
        except ConstraintViolated as violation:
            raise await self._explain(links, session, batch=batch) from violation

    def _replace(self, owners: list[Any], pairs: list[tuple[Any, Any]]) -> sa.Executable:
        """Return the statement that deletes and inserts links.

            WITH removed AS (
                DELETE FROM book_tags WHERE book_id = ANY (:owners)
                AND (book_id, tag_id) NOT IN (SELECT book_id, tag_id FROM wanted)
            )
            INSERT INTO book_tags (book_id, tag_id) SELECT book_id, tag_id FROM wanted
            ON CONFLICT DO NOTHING

        `wanted` stands for `unnest(:book_ids, :tag_ids) AS wanted (book_id, tag_id)`.
        """
        columns = (self._owner, self._linked)
        arrays = [
            sa.literal([pair[position] for pair in pairs], sa.ARRAY(column.type))
            for position, column in enumerate(columns)
        ]
        elements = [sa.column(str(column.key), column.type) for column in columns]
        wanted = sa.func.unnest(*arrays).table_valued(*elements).render_derived("wanted")
        is_owner = self._owner == sa.any_(sa.literal(owners, sa.ARRAY(self._owner.type)))
        is_unwanted = sa.tuple_(*columns).not_in(sa.select(*wanted.c))
        removed = sa.delete(self._table).where(is_owner, is_unwanted).cte("removed")
        names = [str(column.key) for column in columns]
        added = insert(self._table).from_select(names, sa.select(*wanted.c))
        return added.on_conflict_do_nothing().add_cte(removed)

    async def _explain(
        self, links: Links, session: Session, *, batch: bool
    ) -> InvalidRequest | Conflict:
        """Return the error for links to rows that do not exist."""
        ids = [(linked,) for ids in links.values() for linked in ids]
        existing = await existing_values(self._target_table, [self._target_name], ids, session)
        column = str(self._linked.key)
        faults = []
        for item_index, linked_ids in enumerate(links.values()):
            item = ("items", item_index) if batch else ()
            for index, linked in enumerate(linked_ids):
                if (linked,) not in existing:
                    faults.append(missing_row(column, pointer(*item, f"{column}s", index)))
        if not faults:
            # Another request has changed the database since, so a retry may succeed.
            return Conflict()
        return InvalidRequest(*faults)
