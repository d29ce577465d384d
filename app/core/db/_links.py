"""Writes the link tables of many-to-many relationships."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from app.core.db._arrays import unnest_rows
from app.core.db._constraints import missing_row_field_error, select_existing_values
from app.core.db._models import Base
from app.core.db._sessions import Session
from app.core.errors import Conflict, ConstraintViolated, InvalidRequest, pointer

# The ids to link to each owner: `{book_id: [tag_id, another_tag_id]}`. In a batch, there is one
# entry per item, in the order of the request.
Links = Mapping[Any, Sequence[Any]]


class LinkTable:
    """The table of a many-to-many relationship, for example `book_tags` for `Book.tags`.

    A book is the owner of its links, and a tag is their target. Both keys have one column. The
    field of a request has the name of the target's column and an s: `tag_ids`.
    """

    def __init__(self, model: type[Base], name: str) -> None:
        """Find the table of the relationship `name` of a mapped class.

        Raises `TypeError` if the relationship is not many-to-many.
        """
        relationship = sa.inspect(model).relationships[name]
        if not isinstance(relationship.secondary, sa.Table):
            raise TypeError(f"{model.__name__}.{name} needs the argument `secondary`.")
        # Each pair is a column of an entity's table, and the column of the link table for it.
        [(_, owner_column)] = relationship.synchronize_pairs
        [(target_key, target_column)] = relationship.secondary_synchronize_pairs or []
        self._table = relationship.secondary
        self._owner_column = owner_column
        self._target_column = target_column
        self._target_table = relationship.mapper.local_table
        self._target_key = str(target_key.key)

    async def replace(self, links: Links, session: Session, *, batch: bool) -> None:
        """Replace all links of each owner in `links` with the given ones, in one statement.

        Raises `InvalidRequest` with a pointer to each id that has no row, for example `/tag_ids/1`,
        or `/items/17/tag_ids/1` in a batch. A second statement finds these ids. Raises `Conflict`
        if another request has added the rows since, or has deleted an owner.
        """
        pairs = [(owner_id, target_id) for owner_id, ids in links.items() for target_id in ids]
        statement = self._replace_statement(list(links), pairs)
        try:
            async with session.savepoint():
                await session.execute(statement)
        except ConstraintViolated as violation:
            error = await self._explain_violation(links, session, batch=batch)
            raise error from violation

    def _replace_statement(
        self, owner_ids: list[Any], pairs: list[tuple[Any, Any]]
    ) -> sa.Executable:
        """Return the statement that deletes and inserts links.

            WITH removed AS (
                DELETE FROM book_tags WHERE book_id = ANY (:owners)
                AND (book_id, tag_id) NOT IN (SELECT book_id, tag_id FROM new_links)
            )
            INSERT INTO book_tags (book_id, tag_id) SELECT book_id, tag_id FROM new_links
            ON CONFLICT DO NOTHING

        `new_links` stands for `unnest(:book_ids, :tag_ids) AS new_links (book_id, tag_id)`. Both
        parts see the table as it was before, so a link that stays must not be deleted. ON CONFLICT
        skips these links and repeated ids.
        """
        columns = (self._owner_column, self._target_column)
        new_links = unnest_rows(columns, pairs, "new_links")
        owners = sa.literal(owner_ids, sa.ARRAY(self._owner_column.type))
        is_of_owners = self._owner_column == sa.any_(owners)
        is_obsolete = sa.tuple_(*columns).not_in(sa.select(*new_links.c))
        removed = sa.delete(self._table).where(is_of_owners, is_obsolete).cte("removed")
        names = [str(column.key) for column in columns]
        added = insert(self._table).from_select(names, sa.select(*new_links.c))
        return added.on_conflict_do_nothing().add_cte(removed)

    async def _explain_violation(
        self, links: Links, session: Session, *, batch: bool
    ) -> InvalidRequest | Conflict:
        """Return the error for a violated foreign key of the link table."""
        # Tuples of one value, because a key may have several columns elsewhere.
        targets = [(target_id,) for ids in links.values() for target_id in ids]
        existing = await select_existing_values(
            self._target_table, [self._target_key], targets, session
        )
        column = str(self._target_column.key)
        faults = []
        for item_index, target_ids in enumerate(links.values()):
            item_path = ("items", item_index) if batch else ()
            for index, target_id in enumerate(target_ids):
                if (target_id,) not in existing:
                    location = pointer(*item_path, f"{column}s", index)
                    faults.append(missing_row_field_error(column, location))
        if not faults:
            # All targets exist now, or the owner has been deleted.
            return Conflict()
        return InvalidRequest(*faults)
