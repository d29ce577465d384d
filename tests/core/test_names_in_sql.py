"""Tables, columns and relationships with names that the statements of `core.db` also use."""

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
from app.core.preconditions import Precondition
from app.core.schemas import ReadModel, UpdatedAt, Version

pytestmark = pytest.mark.private_database


class OddEntity(Entity):
    """Base of the entities with unusual names. Their metadata is not that of the service."""

    __abstract__ = True
    metadata = sa.MetaData(naming_convention=Base.metadata.naming_convention)


class Invoice(OddEntity):
    """A table whose columns have the names of parameters and of the total of a list."""

    __tablename__ = "odd_invoices"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    total: Mapped[int]
    limit: Mapped[int]
    versions: Mapped[int]


class Series(OddEntity):
    """A table that has the name of its relationship, which refers to the table itself."""

    __tablename__ = "series"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    series_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("series.id"))
    series: Mapped["Series | None"] = relationship(remote_side="Series.id", lazy="raise")


class Reference(OddEntity):
    """A table with the name of a keyword, and with relationships with the names of subqueries."""

    __tablename__ = "references"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    page_id: Mapped[UUID] = mapped_column(sa.ForeignKey(Series.id))
    page: Mapped[Series] = relationship(lazy="raise", foreign_keys=[page_id])
    written_id: Mapped[UUID] = mapped_column(sa.ForeignKey(Series.id))
    written: Mapped[Series] = relationship(lazy="raise", foreign_keys=[written_id])


class EmbeddedName(BaseModel):
    """The name of an embedded series."""

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
    series: EmbeddedName | None
    created_at: datetime
    updated_at: UpdatedAt
    version: Version


class ReferenceRead(ReadModel):
    """A reference."""

    id: UUID
    page: EmbeddedName
    written: EmbeddedName
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
async def odd_database(private_database: Database) -> Database:
    """A database with the tables of this file."""
    async with private_database.engine.begin() as connection:
        await connection.run_sync(OddEntity.metadata.create_all)
    return private_database


async def check_all_reads_and_writes(
    database: Database, repository_class: type[Repository[Any]], values: Mapping[str, Any]
) -> None:
    """Create, update and delete a row, and check that every kind of read returns it."""
    repository = repository_class(database.writes)
    [stored] = await repository.create_many([values])
    assert await repository.get(stored.id) == stored
    stored = await repository.update(stored.id, values, Precondition("is one of", [stored.version]))
    for count in ("exact", "none"):
        page = await repository.page(ListQuery(count=count, size="100"))
        assert stored in page.items
    assert (await repository.page(ListQuery())).total == len(page.items)
    async with database.transaction() as session:
        streamed = [batch async for batch in repository_class(session).stream(PageQuery())]
    assert stored in streamed[0]
    await repository.delete(stored.id, Precondition("is one of", [stored.version]))


async def test_column_may_have_name_of_statement_parameter(odd_database: Database) -> None:
    await check_all_reads_and_writes(
        odd_database, InvoiceRepository, {"total": 77, "limit": 8, "versions": 9}
    )


async def test_relationship_may_have_name_of_its_table(odd_database: Database) -> None:
    first = await SeriesRepository(odd_database.writes).create(
        {"name": "Discworld", "series_id": None}
    )
    await check_all_reads_and_writes(
        odd_database, SeriesRepository, {"name": "Witches", "series_id": first.id}
    )
    stored = await SeriesRepository(odd_database.writes).create(
        {"name": "Watch", "series_id": first.id}
    )
    assert (stored.series, stored.version) == (EmbeddedName(name="Discworld"), "1.1")


async def test_table_may_have_name_of_keyword_and_relationship_name_of_subquery(
    odd_database: Database,
) -> None:
    series = await SeriesRepository(odd_database.writes).create(
        {"name": "Discworld", "series_id": None}
    )
    await check_all_reads_and_writes(
        odd_database, ReferenceRepository, {"page_id": series.id, "written_id": series.id}
    )
