"""The list of entities that the generic tests cover.

They test the lists, cursors, sorts, filters, search, streams, plans, statement budgets, access and
OpenAPI document of each entity in the list. tests/test_entities.py fails if an entity is missing.
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
        streams=True,
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
    ),
    EntityCase(
        model=Document,
        columns={"name": "'Paper ' || n", "size": "n"},
        sorts=("name", "size", "created_at"),
        create={"name": "Notes"},
        update={"name": "Thesis"},
        search_column="name",
        search_word="paper",
        filters={"content_type": "text/plain"},
        has_id_filter=False,
        is_form=True,
        is_catalogue=False,
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
        is_catalogue=False,
    ),
)
CASES_BY_PATH: Final = {case.path: case for case in ENTITIES}


def referenced_cases(case: EntityCase) -> dict[str, EntityCase]:
    """Return the entity to which each foreign key column in `case.columns` refers."""
    by_table = {other.plural: other for other in ENTITIES}
    return {
        column: by_table[key.column.table.name]
        for column in case.columns
        for key in case.table.c[column].foreign_keys
    }


def cases_in_insert_order() -> list[EntityCase]:
    """Return all entities, each after those that it refers to."""
    tables = [table.name for table in ENTITIES[0].model.metadata.sorted_tables]
    return sorted(ENTITIES, key=lambda case: tables.index(case.plural))
