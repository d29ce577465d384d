"""Pages that are read as JSON contain the same models as pages that are read as rows."""

import enum
from datetime import UTC, date, datetime
from typing import Annotated, Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, BeforeValidator, field_validator
from sqlalchemy.dialects.postgresql import ENUM

from app.authors.repository import AuthorRepository
from app.books.repository import BookRepository
from app.books.schemas import BookRead
from app.core.db import Database
from app.core.db._json_items import ITEM_COLUMN, build_json_object, has_json_fields
from app.core.paging import CountMode, ListQuery, Page, PageQuery
from app.documents.repository import DocumentRepository
from tests.support.library import PublisherRepository, ReplacingRequestRepository
from tests.support.library_models import create_library
from tests.support.rows import execute, insert_rows

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


@pytest.mark.parametrize("method_name", ["to_model", "to_models"])
def test_repository_that_overrides_conversion_reads_rows(method_name: str) -> None:
    overrides = {method_name: lambda _self, values: values}
    repository_class: Any = type("OwnRepository", (BookRepository,), overrides)
    repository = repository_class.__new__(repository_class)
    assert not repository._creates_models_from_fields


def test_repository_with_another_model_than_its_statements_reads_rows() -> None:
    class OwnRead(BookRead):
        pass

    class OwnRepository(BookRepository):
        model = OwnRead

    repository: Any = OwnRepository.__new__(OwnRepository)
    assert not repository._creates_models_from_fields


@pytest.mark.private_database
async def test_missing_optional_row_is_none_in_page_read_as_json(
    private_database: Database,
) -> None:
    await create_library(private_database)
    repository: Any = ReplacingRequestRepository(private_database.writes)
    assert repository._creates_models_from_fields
    first = await repository.create({"reader": "Ada", "is_open": False})
    second = await repository.create(
        {"reader": "Ben", "is_open": True, "replaced_request_id": first.id}
    )
    page = await repository.page(ListQuery())
    assert page.items == [first, second]
    assert [request.replaced_request is None for request in page.items] == [True, False]


@pytest.mark.private_database
async def test_page_read_as_json_does_not_depend_on_settings_of_server(
    private_database: Database,
) -> None:
    await create_library(private_database)
    repository = PublisherRepository(private_database.writes)
    created = await repository.create({"name": "Penguin", "country": "GB"})
    name = private_database.engine.url.database
    for setting in ("timezone = 'Asia/Tokyo'", "datestyle = 'German, DMY'"):
        await execute(private_database, f"ALTER DATABASE {name} SET {setting}")
    # New connections have the settings of the database.
    await private_database.engine.dispose()
    [publisher] = (await repository.page(ListQuery())).items
    assert publisher.model_dump_json() == created.model_dump_json()


async def test_infinite_dates_are_those_of_driver(database: Database) -> None:
    """The driver stores the first and the last date of Python as infinite dates."""
    dates = {"first": date.min, "last": date.max, "other": date(1927, 3, 6), "unknown": None}
    values = {name: sa.cast(value, sa.Date) for name, value in dates.items()}
    columns = [value.label(name) for name, value in values.items()]
    statement = sa.select(*columns, build_json_object(values).label("json"))
    [row] = await database.reads.execute(statement)
    in_json = {name: value and date.fromisoformat(value) for name, value in row["json"].items()}
    assert in_json == {name: row[name] for name in dates} == dates


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


class OptionalValidatedId(BaseModel):
    value: Annotated[UUID, BeforeValidator(lambda value: value.hex)] | None


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
        (OptionalValidatedId, sa.Uuid(), False),
    ],
)
def test_model_is_parsed_from_json_if_its_fields_have_types_of_columns(
    model: type[BaseModel], column_type: Any, is_supported: bool
) -> None:
    assert has_json_fields(model, {"value": sa.Column("value", column_type)}) is is_supported
