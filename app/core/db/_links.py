"""Writes the link tables of many-to-many relationships."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from app.core.db._arrays import unnest_values
from app.core.db._constraints import existing_values, missing_row
from app.core.db._models import Base
from app.core.db._sessions import Session
from app.core.errors import Conflict, ConstraintViolated, InvalidRequest, pointer

# For each row, the ids of the rows to link to it: `{book_id: [tag_id, another_tag_id]}`.
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
        """Replace all links of each row by the given ones. Executes one statement.

        Raises `InvalidRequest` with a pointer to each id of a row that does not exist, for example
        `/tag_ids/1`, or `/items/17/tag_ids/1` in a batch. A second statement finds these ids.
        """
        pairs = [(owner, linked) for owner, ids in links.items() for linked in ids]
        statement = self._replace_statement(list(links), pairs)
        try:
            async with session.savepoint():
                await session.execute(statement)
        except ConstraintViolated as violation:
            error = await self._explain_missing_rows(links, session, batch=batch)
            raise error from violation

    def _replace_statement(self, owners: list[Any], pairs: list[tuple[Any, Any]]) -> sa.Executable:
        """Return the statement that deletes and inserts links.

            WITH removed AS (
                DELETE FROM book_tags WHERE book_id = ANY (:owners)
                AND (book_id, tag_id) NOT IN (SELECT book_id, tag_id FROM new_links)
            )
            INSERT INTO book_tags (book_id, tag_id) SELECT book_id, tag_id FROM new_links
            ON CONFLICT DO NOTHING

        `new_links` stands for `unnest(:book_ids, :tag_ids) AS new_links (book_id, tag_id)`.
        """
        columns = (self._owner, self._linked)
        new_links = unnest_values(columns, pairs, "new_links")
        has_owner = self._owner == sa.any_(sa.literal(owners, sa.ARRAY(self._owner.type)))
        is_obsolete = sa.tuple_(*columns).not_in(sa.select(*new_links.c))
        removed = sa.delete(self._table).where(has_owner, is_obsolete).cte("removed")
        names = [str(column.key) for column in columns]
        added = insert(self._table).from_select(names, sa.select(*new_links.c))
        return added.on_conflict_do_nothing().add_cte(removed)

    async def _explain_missing_rows(
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
                    # The field has the name of the column, in the plural: `tag_ids`.
                    location = pointer(*item, f"{column}s", index)
                    faults.append(missing_row(column, location))
        if not faults:
            # Another request has changed the database since, so a retry may succeed.
            return Conflict()
        return InvalidRequest(*faults)
