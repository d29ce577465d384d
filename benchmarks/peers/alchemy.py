"""The models, services and schemas of both peers that use Advanced Alchemy.

They follow the documentation page that `fastapi_alchemy` names, except that reading an author does
not load the author's books.
"""

import datetime as dt
from hashlib import sha256
from uuid import UUID, uuid4

from advanced_alchemy import base, mixins, repository, service
from pydantic import BaseModel as _BaseModel
from sqlalchemy import DateTime, ForeignKey, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column, relationship


class AuthorModel(mixins.AuditColumns, base.DefaultBase):
    __tablename__ = "authors"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str]
    dob: Mapped[dt.date | None]


class BookModel(mixins.AuditColumns, base.DefaultBase):
    __tablename__ = "books"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    title: Mapped[str]
    author_id: Mapped[UUID] = mapped_column(ForeignKey("authors.id"))
    author: Mapped[AuthorModel] = relationship(lazy="joined", innerjoin=True, viewonly=True)


class UserModel(base.DefaultBase):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    role: Mapped[str]


class TokenModel(base.DefaultBase):
    __tablename__ = "tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    digest: Mapped[bytes]
    expires_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))


async def find_user(session: AsyncSession, token: str) -> UserModel | None:
    """Return the user of a token, or None if the token is not valid."""
    statement = select(UserModel).join(TokenModel, TokenModel.user_id == UserModel.id)
    is_valid = (
        TokenModel.digest == sha256(token.encode()).digest(),
        TokenModel.expires_at > func.now(),
    )
    return await session.scalar(statement.where(*is_valid))


class AuthorService(service.SQLAlchemyAsyncRepositoryService[AuthorModel]):
    class Repo(repository.SQLAlchemyAsyncRepository[AuthorModel]):
        model_type = AuthorModel

    repository_type = Repo


class BookService(service.SQLAlchemyAsyncRepositoryService[BookModel]):
    class Repo(repository.SQLAlchemyAsyncRepository[BookModel]):
        model_type = BookModel

    repository_type = Repo


class BaseModel(_BaseModel):
    model_config = {"from_attributes": True}


class AuthorSummary(BaseModel):
    id: UUID
    name: str
    dob: dt.date | None = None


class Author(AuthorSummary):
    created_at: dt.datetime
    updated_at: dt.datetime


class AuthorCreate(BaseModel):
    name: str
    dob: dt.date | None = None


class AuthorUpdate(BaseModel):
    name: str | None = None
    dob: dt.date | None = None


class Book(BaseModel):
    id: UUID
    title: str
    author_id: UUID
    author: AuthorSummary
    created_at: dt.datetime
    updated_at: dt.datetime
