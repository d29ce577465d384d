"""Writes link tables, whose rows connect the rows of two other tables (many-to-many).

The table `book_tags` with the columns `book_id` and `tag_id` links books to tags. A book has
several tags, and a tag has several books.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from app.core.db._arrays import unnest_rows
from app.core.db._missing_rows import missing_row_field_error, select_existing_values
from app.core.db._models import Base
from app.core.db._sessions import Session
from app.core.errors import Conflict, ConstraintViolated, InvalidRequest
from app.core.field_errors import FieldError, json_pointer

# The ids of the tags of each book: `{book_id: [tag_id, another_tag_id]}`. In a batch, the books are
# in the order of the request.
TargetIdsByOwner = Mapping[Any, Sequence[Any]]


class LinkTable:
    """A table whose rows link the rows of two other tables, such as `book_tags` for `Book.tags`.

    Each of its rows links an owner (a book) to a target (a tag). It consists of their ids, for
    example `(book_id, tag_id)`. The field of a request that contains the ids of targets has the
    name of the column with an `s`: `{"title": "Emma", "tag_ids": [...]}`.
    """

    def __init__(self, model: type[Base], relationship_name: str) -> None:
        """Look up the link table of a relationship, for example of "tags" in the class `Book`.

        Raises `TypeError` if the relationship is not many-to-many.
        """
        relationship = sa.inspect(model).relationships[relationship_name]
        if not isinstance(relationship.secondary, sa.Table):
            raise TypeError(
                f"{model.__name__}.{relationship_name} is not a many-to-many relationship. Set its "
                "argument `secondary` to the link table."
            )
        # SQLAlchemy describes each foreign key of the link table by a pair of columns. The pairs of
        # `Book.tags` are (`books.id`, `book_tags.book_id`) and (`tags.id`, `book_tags.tag_id`).
        [(_, owner_column)] = relationship.synchronize_pairs
        [(target_key, target_column)] = relationship.secondary_synchronize_pairs or []
        self._link_table = relationship.secondary
        self._owner_column = owner_column
        self._target_column = target_column
        self._target_table = relationship.mapper.local_table
        self._target_key_name = str(target_key.key)

    async def replace_links(
        self, target_ids_by_owner: TargetIdsByOwner, session: Session, *, batch: bool
    ) -> None:
        """Give each owner, such as a book, exactly these targets, such as tags, in one statement.

        After `{book_id: [tag_id]}`, the book has this tag and no other.

        Args:
            target_ids_by_owner: Maps the id of each owner to the ids of its targets.
            session: Executes the statement.
            batch: Whether the owners are the items of a batch. Pointers in errors then start with
                the item, for example `/items/17/tag_ids/1`.

        Raises `InvalidRequest` if a target does not exist, with a pointer to its id, for example
        `/tag_ids/1`. A second statement finds the missing targets.
        """
        links = [
            (owner_id, target_id)
            for owner_id, target_ids in target_ids_by_owner.items()
            for target_id in target_ids
        ]
        statement = self._replace_statement(list(target_ids_by_owner), links)
        try:
            async with session.savepoint():
                await session.execute(statement)
        except ConstraintViolated as violation:
            field_errors = await self._find_missing_targets(
                target_ids_by_owner, session, batch=batch
            )
            if field_errors:
                raise InvalidRequest(*field_errors) from violation
            # Another request has created the missing target by now, or has deleted an owner.
            raise Conflict from violation

    def _replace_statement(
        self, owner_ids: list[Any], links: list[tuple[Any, Any]]
    ) -> sa.Executable:
        """Return the statement that replaces all links of some owners, for example of books.

            WITH removed AS (
                DELETE FROM book_tags WHERE book_id = ANY (:owner_ids)
                AND (book_id, tag_id) NOT IN (SELECT book_id, tag_id FROM new_links)
            )
            INSERT INTO book_tags (book_id, tag_id) SELECT book_id, tag_id FROM new_links
            ON CONFLICT DO NOTHING

        `new_links` stands for `unnest(:book_ids, :tag_ids) AS new_links (book_id, tag_id)`.

        The DELETE keeps links that are also new. Both commands see the table as it was before the
        statement, so the INSERT would not add a deleted link again. ON CONFLICT skips the kept
        links, and ids that the request repeats.

        Args:
            owner_ids: The owners whose links are replaced. An owner without new links loses all.
            links: The new links, each as the id of the owner and the id of the target.
        """
        columns = (self._owner_column, self._target_column)
        new_links = unnest_rows(columns, links, "new_links")
        owner_id_array = sa.literal(owner_ids, sa.ARRAY(self._owner_column.type))
        belongs_to_owner = self._owner_column == sa.any_(owner_id_array)
        is_obsolete = sa.tuple_(*columns).not_in(sa.select(*new_links.c))
        removed = sa.delete(self._link_table).where(belongs_to_owner, is_obsolete).cte("removed")
        column_names = [str(column.key) for column in columns]
        insert_links = insert(self._link_table).from_select(column_names, sa.select(*new_links.c))
        return insert_links.on_conflict_do_nothing().add_cte(removed)

    async def _find_missing_targets(
        self, target_ids_by_owner: TargetIdsByOwner, session: Session, *, batch: bool
    ) -> list[FieldError]:
        """Return a field error for each id of a target that does not exist, such as a deleted tag.

        The pointer of the field error is the location of the id in the request, for example
        `/tag_ids/1`, or `/items/17/tag_ids/1` in a batch.
        """
        # `select_existing_values` can compare several columns, so it takes and returns tuples.
        target_keys = [
            (target_id,) for target_ids in target_ids_by_owner.values() for target_id in target_ids
        ]
        existing_keys = await select_existing_values(
            self._target_table, [self._target_key_name], target_keys, session
        )
        column_name = str(self._target_column.key)
        # The request contains the values of the column `tag_id` in the field `tag_ids`.
        field_name = f"{column_name}s"
        field_errors = []
        for owner_index, target_ids in enumerate(target_ids_by_owner.values()):
            field_path: tuple[str | int, ...] = (field_name,)
            if batch:
                field_path = ("items", owner_index, field_name)
            for target_index, target_id in enumerate(target_ids):
                if (target_id,) not in existing_keys:
                    pointer = json_pointer(*field_path, target_index)
                    field_errors.append(missing_row_field_error(column_name, pointer))
        return field_errors
