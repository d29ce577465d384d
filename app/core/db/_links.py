"""Writes the link tables of many-to-many relationships."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from app.core.db._arrays import unnest_rows
from app.core.db._constraints import missing_row_field_error, select_existing_values
from app.core.db._models import Base
from app.core.db._sessions import Session
from app.core.errors import Conflict, ConstraintViolated, InvalidRequest
from app.core.field_errors import json_pointer

# The ids to link to each owner: `{book_id: [tag_id, another_tag_id]}`. For a batch, there is one
# entry per item, in the order of the request.
Links = Mapping[Any, Sequence[Any]]


class LinkTable:
    """The link table of a many-to-many relationship, for example `book_tags` for `Book.tags`.

    A row of it links an owner (a book) to a target (a tag). Both have a primary key of one column.
    The ids of the targets are in the field `tag_ids` of a request: the name of the link table's
    column `tag_id`, and an s.
    """

    def __init__(self, model: type[Base], relationship_name: str) -> None:
        """Look up the link table of a relationship of a mapped class.

        Raises `TypeError` if the relationship is not many-to-many.
        """
        relationship = sa.inspect(model).relationships[relationship_name]
        if not isinstance(relationship.secondary, sa.Table):
            raise TypeError(
                f"{model.__name__}.{relationship_name} is not a many-to-many relationship. Set its "
                "argument `secondary` to the link table."
            )
        # Each pair is a primary key, and the column of the link table that refers to it.
        [(_, owner_column)] = relationship.synchronize_pairs
        [(target_key, target_column)] = relationship.secondary_synchronize_pairs or []
        self._table = relationship.secondary
        self._owner_column = owner_column
        self._target_column = target_column
        self._target_table = relationship.mapper.local_table
        self._target_key_name = str(target_key.key)

    async def replace(self, links: Links, session: Session, *, batch: bool) -> None:
        """Replace all links of each owner by those in `links`, with one statement.

        Raises `InvalidRequest` if a target does not exist. The error has a pointer to each such id,
        for example `/tag_ids/1`, or `/items/17/tag_ids/1` if the links are from a batch. A second
        statement finds these ids. Raises `Conflict` if it finds none, because another request has
        created the targets in the meantime or has deleted an owner.
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
        """Return the statement that replaces all links of some owners.

            WITH removed AS (
                DELETE FROM book_tags WHERE book_id = ANY (:owner_ids)
                AND (book_id, tag_id) NOT IN (SELECT book_id, tag_id FROM new_links)
            )
            INSERT INTO book_tags (book_id, tag_id) SELECT book_id, tag_id FROM new_links
            ON CONFLICT DO NOTHING

        `new_links` stands for `unnest(:book_ids, :tag_ids) AS new_links (book_id, tag_id)`. The
        DELETE and the INSERT see the same state of the table, so a link that remains must not be
        deleted. ON CONFLICT skips these links and repeated ids.

        Args:
            owner_ids: The owners whose links are replaced. An owner without pairs loses all links.
            pairs: The ids of the owner and the target of each new link.
        """
        columns = (self._owner_column, self._target_column)
        new_links = unnest_rows(columns, pairs, "new_links")
        owner_id_array = sa.literal(owner_ids, sa.ARRAY(self._owner_column.type))
        has_owner = self._owner_column == sa.any_(owner_id_array)
        is_obsolete = sa.tuple_(*columns).not_in(sa.select(*new_links.c))
        removed = sa.delete(self._table).where(has_owner, is_obsolete).cte("removed")
        column_names = [str(column.key) for column in columns]
        insert_links = insert(self._table).from_select(column_names, sa.select(*new_links.c))
        return insert_links.on_conflict_do_nothing().add_cte(removed)

    async def _explain_violation(
        self, links: Links, session: Session, *, batch: bool
    ) -> InvalidRequest | Conflict:
        """Return the error for links that violate a foreign key of the link table.

        It is an `InvalidRequest` with a pointer to each target that does not exist. If all targets
        exist, it is a `Conflict`.
        """
        # A primary key is a tuple, which has one value here.
        target_keys = [(target_id,) for ids in links.values() for target_id in ids]
        existing_keys = await select_existing_values(
            self._target_table, [self._target_key_name], target_keys, session
        )
        column_name = str(self._target_column.key)
        field_errors = []
        for item_index, target_ids in enumerate(links.values()):
            item_path: tuple[str | int, ...] = ()
            if batch:
                item_path = ("items", item_index)
            for target_index, target_id in enumerate(target_ids):
                if (target_id,) not in existing_keys:
                    location = json_pointer(*item_path, f"{column_name}s", target_index)
                    field_errors.append(missing_row_field_error(column_name, location))
        if not field_errors:
            # Another request has created the targets in the meantime, or has deleted the owner.
            return Conflict()
        return InvalidRequest(*field_errors)
