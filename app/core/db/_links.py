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

# The ids to link to each owner: `{book_id: [tag_id, another_tag_id]}`. The links of a batch have
# one entry per item, in the order of the request.
Links = Mapping[Any, Sequence[Any]]


class LinkTable:
    """The link table of a many-to-many relationship, for example `book_tags` for `Book.tags`.

    A row of it links an owner (a book) to a target (a tag). Both have a primary key of one column.
    A request contains the ids of the targets in a field such as `tag_ids`, which is named after the
    column `tag_id` of the link table.
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
        # The pairs of `Book.tags` are (`books.id`, `book_tags.book_id`) and
        # (`tags.id`, `book_tags.tag_id`).
        [(_, owner_column)] = relationship.synchronize_pairs
        [(target_key, target_column)] = relationship.secondary_synchronize_pairs or []
        self._link_table = relationship.secondary
        self._owner_column = owner_column
        self._target_column = target_column
        self._target_table = relationship.mapper.local_table
        self._target_key_name = str(target_key.key)

    async def replace_links(self, links: Links, session: Session, *, batch: bool) -> None:
        """Replace all links of each owner by those in `links`, with one statement.

        For example, the links `{book_id: [tag_id]}` remove all other tags from the book.

        Raises `InvalidRequest` if a target does not exist. A second statement finds out which, so
        that the error has a pointer to each, for example `/tag_ids/1`. Raises `Conflict` if all
        targets exist now, because another request has created them or has deleted an owner.

        Args:
            links: The ids of the targets by the id of their owner.
            session: Executes the statement.
            batch: Whether the owners are the items of a batch. Pointers in errors then start with
                the item, for example `/items/17/tag_ids/1`.
        """
        links_of_owners = [
            (owner_id, target_id)
            for owner_id, target_ids in links.items()
            for target_id in target_ids
        ]
        statement = self._replace_statement(list(links), links_of_owners)
        try:
            async with session.savepoint():
                await session.execute(statement)
        except ConstraintViolated as violation:
            error = await self._find_violation_error(links, session, batch=batch)
            raise error from violation

    def _replace_statement(
        self, owner_ids: list[Any], links_of_owners: list[tuple[Any, Any]]
    ) -> sa.Executable:
        """Return the statement that replaces all links of some owners, for example of books.

            WITH removed AS (
                DELETE FROM book_tags WHERE book_id = ANY (:owner_ids)
                AND (book_id, tag_id) NOT IN (SELECT book_id, tag_id FROM new_links)
            )
            INSERT INTO book_tags (book_id, tag_id) SELECT book_id, tag_id FROM new_links
            ON CONFLICT DO NOTHING

        `new_links` stands for `unnest(:book_ids, :tag_ids) AS new_links (book_id, tag_id)`. The
        INSERT does not see what the DELETE removes, so links that remain must not be deleted. ON
        CONFLICT skips them, and repeated ids.

        Args:
            owner_ids: The owners whose links are replaced. An owner without new links loses all.
            links_of_owners: The ids of the owner and of the target of each new link.
        """
        columns = (self._owner_column, self._target_column)
        new_links = unnest_rows(columns, links_of_owners, "new_links")
        owner_id_array = sa.literal(owner_ids, sa.ARRAY(self._owner_column.type))
        has_owner = self._owner_column == sa.any_(owner_id_array)
        is_obsolete = sa.tuple_(*columns).not_in(sa.select(*new_links.c))
        removed = sa.delete(self._link_table).where(has_owner, is_obsolete).cte("removed")
        column_names = [str(column.key) for column in columns]
        insert_links = insert(self._link_table).from_select(column_names, sa.select(*new_links.c))
        return insert_links.on_conflict_do_nothing().add_cte(removed)

    async def _find_violation_error(
        self, links: Links, session: Session, *, batch: bool
    ) -> InvalidRequest | Conflict:
        """Return the error for links that violate a foreign key of the link table.

        It is an `InvalidRequest` with a pointer to the id of each target that does not exist, for
        example `/tag_ids/1`, or `/items/17/tag_ids/1` in a batch. It is a `Conflict` if all targets
        exist now, because another request has created them or has deleted an owner.
        """
        existing_ids = await self._select_existing_target_ids(links, session)
        column_name = str(self._target_column.key)
        # The values of the column `tag_id` are in the field `tag_ids` of the request.
        field_name = f"{column_name}s"
        field_errors = []
        for item_index, target_ids in enumerate(links.values()):
            field_path: tuple[str | int, ...] = (field_name,)
            if batch:
                field_path = ("items", item_index, field_name)
            for target_index, target_id in enumerate(target_ids):
                if target_id not in existing_ids:
                    pointer = json_pointer(*field_path, target_index)
                    field_errors.append(missing_row_field_error(column_name, pointer))
        if not field_errors:
            return Conflict()
        return InvalidRequest(*field_errors)

    async def _select_existing_target_ids(self, links: Links, session: Session) -> set[Any]:
        """Return those ids of targets in `links` for which a row exists."""
        # `select_existing_values` can compare several columns, so it takes and returns tuples.
        target_keys = [(target_id,) for target_ids in links.values() for target_id in target_ids]
        existing_keys = await select_existing_values(
            self._target_table, [self._target_key_name], target_keys, session
        )
        return {target_id for (target_id,) in existing_keys}
