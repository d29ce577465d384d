"""Read models and repositories of the example library in `tests.support.library_models`."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from pydantic import BaseModel

from app.core.db import Repository, Statements, equals
from app.core.schemas import ReadModel, UpdatedAt, Version
from tests.support.library_models import Edition, FineState, LoanRequest, Publisher, Tag


class PublisherRead(ReadModel):
    """A publisher."""

    id: UUID
    name: str
    country: str
    created_at: datetime
    updated_at: UpdatedAt
    version: Version


class EditionPublisher(BaseModel):
    """The publisher of an edition, without its id."""

    name: str


class EditionTag(BaseModel):
    """A tag of an edition."""

    id: UUID
    name: str


class EditionRead(ReadModel):
    """An edition with its publisher, if it is known, and its tags."""

    id: UUID
    title: str
    publisher_id: UUID | None
    publisher: EditionPublisher | None
    tags: list[EditionTag]
    created_at: datetime
    updated_at: UpdatedAt
    version: Version


class EditionFine(BaseModel):
    """A fine for an edition."""

    amount: Decimal
    state: FineState
    created_at: datetime


class FinedEditionRead(ReadModel):
    """An edition with its fines."""

    id: UUID
    fines: list[EditionFine]
    created_at: datetime
    version: Version


class FinedEditionRepository(Repository[FinedEditionRead]):
    """Reads editions with their fines."""

    model = FinedEditionRead
    noun = "Edition"
    statements = Statements(Edition, FinedEditionRead)


class PublisherRepository(Repository[PublisherRead]):
    """Reads and writes publishers."""

    model = PublisherRead
    noun = "Publisher"
    statements = Statements(Publisher, PublisherRead)


class TagRead(ReadModel):
    """A tag."""

    id: UUID
    name: str
    created_at: datetime
    version: Version


class TagRepository(Repository[TagRead]):
    """Reads and writes tags."""

    model = TagRead
    noun = "Tag"
    statements = Statements(Tag, TagRead)


class LoanRequestRead(ReadModel):
    """A request for a loan."""

    id: UUID
    reader: str
    created_at: datetime
    version: Version


class ReplacedRequest(BaseModel):
    """The request that a request replaces."""

    reader: str


class ReplacingRequestRead(ReadModel):
    """A request for a loan with the request that it replaces, if there is one."""

    id: UUID
    reader: str
    replaced_request: ReplacedRequest | None
    created_at: datetime
    version: Version


class ReplacingRequestRepository(Repository[ReplacingRequestRead]):
    """Reads and writes requests together with those that they replace."""

    model = ReplacingRequestRead
    noun = "Loan request"
    statements = Statements(LoanRequest, ReplacingRequestRead)


class LoanRequestRepository(Repository[LoanRequestRead]):
    """Reads and writes requests for loans."""

    model = LoanRequestRead
    noun = "Loan request"
    statements = Statements(LoanRequest, LoanRequestRead)


class EditionRepository(Repository[EditionRead]):
    """Reads and writes editions."""

    model = EditionRead
    noun = "Edition"
    statements = Statements(
        Edition, EditionRead, filters={"publisher_id": equals(Edition.publisher_id)}
    )
