"""Idempotency-Key: a POST that is sent again is answered as it was the first time, for a day."""

import hmac
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from hashlib import sha256
from json import dumps
from typing import Any, Final

import sqlalchemy as sa
from fastapi import Request, Response
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert
from sqlalchemy.orm import Mapped, mapped_column

from app.core.access import principal
from app.core.database import SESSION, Database
from app.core.errors import (
    Fault,
    IdempotencyKeyReused,
    InvalidRequest,
    RequestInProgress,
    ServiceError,
)
from app.core.models import Base
from app.core.problems import render
from app.core.sessions import Session
from app.core.sqlstate import undone

HEADER: Final = "Idempotency-Key"
MAX_KEY: Final = 255  # characters
ABOUT: Final = (
    f"1 to {MAX_KEY} visible ASCII characters, bare or quoted. For 24 hours the same request with"
    " the same key is done once and answered as it was the first time, with"
    " `Idempotency-Replayed: true`; while that is under way with 409 and `Retry-After`"
)
KEPT: Final = timedelta(hours=24)
# Bare, or as a string of RFC 9651: visible ASCII, in which `\` escapes itself and `"`.
_KEY: Final = re.compile(
    rf'^(?:((?!")[\x21-\x7e]{{1,{MAX_KEY}}})|'
    rf'"((?:[\x21\x23-\x5b\x5d-\x7e]|\\["\\]){{1,{MAX_KEY}}})")$'
)
SCHEMA: Final = {"type": "string", "maxLength": 2 * MAX_KEY + 2, "pattern": _KEY.pattern}
_ATTEMPT: Final = "bookshelf.attempt"  # in the scope of a request with a key
_SERVER_ERROR: Final = 500
Handle = Callable[[Request], Awaitable[Response]]


class StoredAnswer(Base):
    """The first answer to a request with a key.

    Only who knows the key can make `id` and `fingerprint`: the request may have had a password.
    """

    __tablename__ = "stored_answers"

    id: Mapped[bytes] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]
    status: Mapped[int] = mapped_column(sa.SmallInteger)
    headers: Mapped[dict[str, str]] = mapped_column(JSONB)
    body: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now(), index=True)


def _replacing(answer: Insert, old: sa.ColumnElement[bool]) -> sa.Executable:
    names = ("fingerprint", "status", "headers", "body")
    values: dict[str, Any] = {name: answer.excluded[name] for name in names}
    values["created_at"] = sa.func.now()
    added = answer.on_conflict_do_update(index_elements=["id"], set_=values, where=old)
    return added.returning(StoredAnswer.id)


class StoredAnswers:
    """The SQL of stored answers."""

    _old = StoredAnswer.created_at <= sa.func.now() - KEPT
    _find = sa.select(StoredAnswer.__table__).where(
        StoredAnswer.id == sa.bindparam("id", type_=sa.LargeBinary), sa.not_(_old)
    )
    _add = _replacing(insert(StoredAnswer), _old)

    def __init__(self, session: Session) -> None:
        self._session = session

    async def find(self, key: bytes) -> sa.Row[Any] | None:
        rows = await self._session.rows(self._find, {"id": key})
        return rows[0] if rows else None

    async def add(self, **values: Any) -> bool:
        """False when another process has been first; while that is at it this waits."""
        return bool(await self._session.rows(self._add, values))

    async def forget_old(self) -> int:
        """Remove those that are replayed no more; how many."""
        gone = sa.delete(StoredAnswer).where(self._old).returning(StoredAnswer.id)
        return len(await self._session.rows(gone, {}))


class Replay(Exception):
    """The request has been answered before."""


class Attempt:
    """A request with a key; what it asks for is told by `identify`."""

    def __init__(self, request: Request, key: str) -> None:
        caller = principal(request).user_id or 0
        self._running: set[bytes] = request.app.state.keys_running
        self._key, self._path = key.encode(), request.scope["path"]
        self.id = sha256(f"{caller} {key}".encode()).digest()
        self.fingerprint: bytes | None = None
        self.stored: sa.Row[Any] | None = None

    def identify(self, content: object) -> None:
        """Go on from here only with what has not been answered before."""
        asked = dumps([self._path, content], sort_keys=True, default=str).encode()
        self.fingerprint = hmac.digest(self._key, asked, "sha256")
        if self.stored is not None:
            raise Replay

    @contextmanager
    def running(self) -> Iterator[None]:
        if self.id in self._running:
            raise RequestInProgress
        self._running.add(self.id)
        try:
            yield
        finally:
            self._running.discard(self.id)

    async def store(self, session: Session, answer: Response) -> None:
        headers = {
            name: value for name, value in answer.headers.items() if name != "content-length"
        }
        about = {"status": answer.status_code, "headers": headers, "body": bytes(answer.body)}
        added = StoredAnswers(session).add(id=self.id, fingerprint=self.fingerprint, **about)
        if not await added:  # another process has been first
            raise Replay

    async def replayed(self, database: Database) -> Response:
        """The first answer, if it was one to the same request."""
        stored = self.stored or await StoredAnswers(database.reads).find(self.id)
        if stored is None:  # and it has been forgotten at this moment
            raise RequestInProgress
        if stored.fingerprint != self.fingerprint:
            raise IdempotencyKeyReused
        headers = {**stored.headers, "Idempotency-Replayed": "true"}
        return Response(stored.body, stored.status, headers)


def key_of(request: Request) -> str | None:
    """The key that a request has."""
    if not (lines := request.headers.getlist(HEADER)):
        return None
    if key := _KEY.fullmatch(", ".join(lines)):
        return key[1] or re.sub(r"\\(.)", r"\1", key[2])
    detail = f"Must be 1 to {MAX_KEY} visible ASCII characters"
    raise InvalidRequest(Fault(header=HEADER, code="idempotency_key", detail=detail))


def identified(request: Request) -> Callable[[object], None]:
    """What a handler is to call with its request's content, once it has read that."""
    attempt: Attempt | None = request.scope.get(_ATTEMPT)
    return attempt.identify if attempt else lambda _: None


async def once(request: Request, key: str, content: object, handle: Handle) -> Response:
    """Handle a request, or answer it as the first time; `content` is `None` while it is unread.

    What the handler writes and the answer are one transaction. It begins with the handler's first
    statement: no connection is held before. One that the server undid is tried once more.
    """
    database: Database = request.app.state.database
    attempt = request.scope[_ATTEMPT] = Attempt(request, key)
    with attempt.running():
        attempt.stored = await StoredAnswers(database.reads).find(attempt.id)
        try:
            if content is not None:
                attempt.identify(content)
            try:
                return await _handled(request, database, attempt, handle)
            except Exception as error:
                if content is None or not undone(error):
                    raise
            return await _handled(request, database, attempt, handle)
        except Replay:
            return await attempt.replayed(database)


async def _handled(
    request: Request, database: Database, attempt: Attempt, handle: Handle
) -> Response:
    try:
        async with database.session() as session:
            request.scope[SESSION] = session
            answer = await handle(request)
            await attempt.store(session, answer)
    except ServiceError as error:
        passing = error.status >= _SERVER_ERROR or error.retry_after or undone(error)
        if passing or attempt.fingerprint is None:
            raise
        answer = render(request, error)
        await attempt.store(database.writes, answer)
    return answer
