"""Pages that are read as JSON contain the same models as pages that are read as rows."""

import enum
from datetime import UTC, date, datetime
from typing import Annotated, Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, BeforeValidator, field_validator
from sqlalchemy.dialects.postgresql import ENUM

from app.authors.repository import AuthorRepository
from app.books.repository import BookRepository
from app.core.db import Database
from app.core.db._json_items import ITEM_COLUMN, has_json_fields
from app.core.paging import CountMode, Page, PageQuery
from app.documents.repository import DocumentRepository
from tests.support.rows import insert_rows

# Texts that JSON has to escape, or that are easily damaged.
TEXTS = (
    '"quoted" \\ and /',
    "tab\t, line\n, bell\x07, \x7f, \u2028",
    "Gabriel García 📚 \U0010ffff",
)
# Postgres omits zeros at the end of a fraction in JSON.
TIMES = (
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC),
    datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
)


@pytest.mark.parametrize("repository_class", [AuthorRepository, BookRepository])
@pytest.mark.parametrize("count", ["exact", "none"])
async def test_page_read_as_json_equals_page_read_as_rows(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    repository_class: type[AuthorRepository | BookRepository],
    count: Any,
) -> None:
    await _add_books_with_authors(database)
    repository = repository_class(database.reads)
    pages = await _read_pages(repository, count)
    assert [len(page.items) for page in pages] == [2, 1, 0]
    monkeypatch.setattr(repository_class, "_creates_models_from_fields", False)
    pages_from_rows = await _read_pages(repository, count)
    assert pages == pages_from_rows
    assert [page.model_dump_json() for page in pages] == [
        page.model_dump_json() for page in pages_from_rows
    ]


async def _read_pages(repository: AuthorRepository | BookRepository, count: Any) -> list[Page[Any]]:
    """Return the first page, the page after it by its cursor, and a page past the end."""
    first_page = await repository.page(PageQuery(size="2", count=count))
    return [
        first_page,
        await repository.page(PageQuery(size="2", count=count, cursor=first_page.next)),
        await repository.page(PageQuery(size="2", count=count, page="9")),
    ]


async def _add_books_with_authors(database: Database) -> None:
    """Add an author and a book for each of TEXTS."""
    numbers = range(len(TEXTS))
    ids = [f"01890000-0000-7000-8000-00000000000{number}" for number in numbers]
    dates = [date(1927, 3, 6), None, date(1, 1, 2)]
    authors = [
        {
            "id": ids[n],
            "name": TEXTS[n],
            "dob": dates[n],
            "created_at": TIMES[n],
            "updated_at": TIMES[-n],
        }
        for n in numbers
    ]
    await insert_rows(database, "authors", authors)
    books = [
        {
            "id": ids[n],
            "title": TEXTS[n],
            "author_id": ids[n - 1],
            "created_at": TIMES[n],
            "updated_at": TIMES[-n],
        }
        for n in numbers
    ]
    await insert_rows(database, "books", books)


@pytest.mark.parametrize("count_mode", ["bounded", "exact", "none"])
def test_page_of_books_selects_keys_and_json_only(count_mode: CountMode) -> None:
    statement = BookRepository.statements.select_page(
        frozenset(), ("title",), after_cursor=False, count_mode=count_mode, as_json=True
    )
    total = [] if count_mode == "none" else ["list__total"]
    assert [*statement.selected_columns.keys()] == [*total, "id", "title", ITEM_COLUMN]


def test_repository_that_creates_models_itself_reads_rows() -> None:
    documents: Any = DocumentRepository.__new__(DocumentRepository)
    assert not documents._creates_models_from_fields


class Kind(enum.Enum):
    A = "a"


class Text(BaseModel):
    value: str


class OptionalText(BaseModel):
    value: str | None


class AnyValue(BaseModel):
    value: Any


class ValidatedText(BaseModel):
    value: Annotated[str, BeforeValidator(str.strip)]


class TextWithValidator(BaseModel):
    value: str

    @field_validator("value")
    @classmethod
    def strip(cls, value: str) -> str:
        return value.strip()


class Number(BaseModel):
    value: float


class Time(BaseModel):
    value: datetime


@pytest.mark.parametrize(
    ("model", "column_type", "is_supported"),
    [
        (Text, sa.String(10), True),
        (OptionalText, sa.Text(), True),
        (Time, sa.DateTime(timezone=True), True),
        (Time, sa.DateTime(), False),
        (AnyValue, sa.Text(), False),
        (AnyValue, sa.LargeBinary(), False),
        (Text, sa.Integer(), False),
        (Text, ENUM("a", "b", name="kind"), False),
        (Text, sa.Enum(Kind), False),
        (Number, sa.Numeric(), False),
        (Number, sa.Float(), False),
        (ValidatedText, sa.Text(), False),
        (TextWithValidator, sa.Text(), False),
    ],
)
def test_model_is_parsed_from_json_if_its_fields_have_types_of_columns(
    model: type[BaseModel], column_type: Any, is_supported: bool
) -> None:
    assert has_json_fields(model, {"value": sa.Column("value", column_type)}) is is_supported
