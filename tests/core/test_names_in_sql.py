"""Tables, columns and relationships with names that the statements of `core.db` use themselves."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.core.db import Base, Database, Entity, Repository, Statements
from app.core.paging import ListQuery, PageQuery
from app.core.schemas import ReadModel, UpdatedAt, Version

pytestmark = pytest.mark.private_database


class OddEntity(Entity):
    """Base of the entities with odd names, in a schema of their own."""

    __abstract__ = True
    metadata = sa.MetaData(naming_convention=Base.metadata.naming_convention)


class Invoice(OddEntity):
    """A table whose columns have the names of parameters and of the count of a list."""

    __tablename__ = "odd_invoices"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    total: Mapped[int]
    limit: Mapped[int]
    versions: Mapped[int]


class Series(OddEntity):
    """A table that is called like its relationship, and is related to itself."""

    __tablename__ = "series"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    series_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("series.id"))
    series: Mapped["Series | None"] = relationship(remote_side="Series.id", lazy="raise")


class Reference(OddEntity):
    """A table with the name of a keyword, and relationships with the names of subqueries."""

    __tablename__ = "references"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    page_id: Mapped[UUID] = mapped_column(sa.ForeignKey(Series.id))
    page: Mapped[Series] = relationship(lazy="raise", foreign_keys=[page_id])
    written_id: Mapped[UUID] = mapped_column(sa.ForeignKey(Series.id))
    written: Mapped[Series] = relationship(lazy="raise", foreign_keys=[written_id])


class Part(BaseModel):
    """An embedded row."""

    name: str


class InvoiceRead(ReadModel):
    """An invoice."""

    id: UUID
    total: int
    limit: int
    versions: int
    created_at: datetime
    updated_at: UpdatedAt
    version: Version


class SeriesRead(ReadModel):
    """A series, which may be part of another one."""

    id: UUID
    name: str
    series: Part | None
    created_at: datetime
    updated_at: UpdatedAt
    version: Version


class ReferenceRead(ReadModel):
    """A reference."""

    id: UUID
    page: Part
    written: Part
    created_at: datetime
    updated_at: UpdatedAt
    version: Version


class InvoiceRepository(Repository[InvoiceRead]):
    """Reads and writes invoices."""

    model, noun = InvoiceRead, "Invoice"
    statements = Statements(Invoice, InvoiceRead)


class SeriesRepository(Repository[SeriesRead]):
    """Reads and writes series."""

    model, noun = SeriesRead, "Series"
    statements = Statements(Series, SeriesRead)


class ReferenceRepository(Repository[ReferenceRead]):
    """Reads and writes references."""

    model, noun = ReferenceRead, "Reference"
    statements = Statements(Reference, ReferenceRead)


@pytest.fixture
async def odd(private_database: Database) -> Database:
    """A database with these tables."""
    async with private_database.engine.begin() as connection:
        await connection.run_sync(OddEntity.metadata.create_all)
    return private_database


async def check(
    database: Database, repository_class: type[Repository[Any]], values: Mapping[str, Any]
) -> None:
    """Write a row in every way, and compare it with what every kind of read returns."""
    repository = repository_class(database.writes)
    [stored] = await repository.create_many([values])
    assert await repository.get(stored.id) == stored
    stored = await repository.update(stored.id, values, [stored.version])
    for count in ("exact", "none"):
        page = await repository.page(ListQuery(count=count, size="100"))
        assert stored in page.items
    assert (await repository.page(ListQuery())).total == len(page.items)
    async with database.transaction() as session:
        streamed = [batch async for batch in repository_class(session).stream(PageQuery())]
    assert stored in streamed[0]
    await repository.delete(stored.id, [stored.version])


async def test_columns_may_have_the_names_of_parameters(odd: Database) -> None:
    await check(odd, InvoiceRepository, {"total": 77, "limit": 8, "versions": 9})


async def test_relationship_may_have_the_name_of_its_own_table(odd: Database) -> None:
    first = await SeriesRepository(odd.writes).create({"name": "Discworld", "series_id": None})
    await check(odd, SeriesRepository, {"name": "Witches", "series_id": first.id})
    stored = await SeriesRepository(odd.writes).create({"name": "Watch", "series_id": first.id})
    assert (stored.series, stored.version) == (Part(name="Discworld"), "1.1")


async def test_table_and_relationships_may_have_the_names_of_keywords(odd: Database) -> None:
    series = await SeriesRepository(odd.writes).create({"name": "Discworld", "series_id": None})
    await check(odd, ReferenceRepository, {"page_id": series.id, "written_id": series.id})
