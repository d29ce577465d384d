"""The registry of the entities that the generic tests cover.

For each entity they test its lists, cursors, sorts, filters, search, streams, query plans, number
of statements, permissions and OpenAPI document. tests/test_entities.py fails if one is missing.
"""

from typing import Final

from app.authors.models import Author
from app.books.models import Book
from app.documents.models import Document
from app.users.models import User
from tests.support.entity_case import FIRST_ID, EntityCase

ENTITIES: Final = (
    EntityCase(
        model=Author,
        columns={"name": "'Author ' || n", "dob": "date '1900-01-01' + n"},
        sorts=("name", "dob", "created_at"),
        create={"name": "Virginia"},
        update={"name": "Virginia Woolf"},
        search_column="name",
        search_word="author",
        filters={"dob_from": "1900-01-01", "dob_to": "2000-01-01", "dob_is_null": "true"},
        streams=True,
        deletes_many=True,
    ),
    EntityCase(
        model=Book,
        columns={"title": "'Title ' || n", "author_id": f"'{FIRST_ID}'::uuid"},
        sorts=("title", "created_at", "updated_at"),
        create={"title": "Orlando", "author_id": FIRST_ID},
        update={"title": "Flush"},
        search_column="title",
        search_word="title",
        filters={"author_id": FIRST_ID},
        streams=True,
        deletes_many=True,
    ),
    EntityCase(
        model=Document,
        columns={"name": "'Paper ' || n", "size": "n"},
        sorts=("name", "size", "created_at"),
        create={"name": "Notes"},
        update={"name": "Thesis"},
        search_column="name",
        search_word="paper",
        filters={"content_type": "text/plain", "size_is_null": "true"},
        has_id_filter=False,
        is_form=True,
        is_catalog=False,
    ),
    EntityCase(
        model=User,
        columns={
            "name": "'Reader ' || n",
            "email": "'Reader' || n || '@Example.com'",
            "password_hash": "'x'",
        },
        sorts=("name", "email", "created_at"),
        create={"name": "Ada", "email": "ada@example.com", "password": "correct horse"},
        update={"name": "Ada King"},
        search_column="name",
        search_word="reader",
        filters={"email": "ada@example.com"},
        has_id_filter=False,
        is_catalog=False,
    ),
)
CASES_BY_PATH: Final = {case.path: case for case in ENTITIES}


def referenced_cases(case: EntityCase) -> dict[str, EntityCase]:
    """Return the entity that each foreign key column in `case.columns` refers to.

    Example: `{"author_id": <case of authors>}` for books.
    """
    cases_by_table = {other_case.plural: other_case for other_case in ENTITIES}
    return {
        column: cases_by_table[foreign_key.column.table.name]
        for column in case.columns
        for foreign_key in case.table.c[column].foreign_keys
    }


def cases_in_insert_order() -> list[EntityCase]:
    """Return all entities, each after the entities that it refers to by foreign keys."""
    table_names = [table.name for table in ENTITIES[0].model.metadata.sorted_tables]
    return sorted(ENTITIES, key=lambda case: table_names.index(case.plural))
