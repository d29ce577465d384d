"""The rules of documents."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

from uuid_utils.compat import uuid7

from app.core.access import Principal
from app.core.errors import ServiceError, Unavailable
from app.core.pagination import ListQuery, Page
from app.core.service import Service
from app.core.sessions import Session
from app.core.storage import Request
from app.documents.files import Files
from app.documents.form import Form, Part, Sink, Text, valid, wrong
from app.documents.repository import DocumentRepository
from app.documents.schemas import DocumentForm, DocumentRead, FileHead
from app.documents.upload import Upload

_UNQUOTED: Final = "!#$&+.^_`|~"  # RFC 8187


class DocumentService(Service[DocumentRead]):
    """Documents. Bytes flow, and the store answers, while no connection is held."""

    repository = DocumentRepository

    def __init__(self, session: Session, files: Files, principal: Principal) -> None:
        super().__init__(session, **principal.only("documents"))
        self._owner_id, self._files = principal.user_id, files
        self._storage, self._settings = files.storage, files.settings

    async def get(self, key: Any) -> DocumentRead:
        return await self._signed(await super().get(key))

    async def page(self, query: ListQuery) -> Page[DocumentRead]:
        page = await super().page(query)
        await self._sign(page.items)
        return page

    async def create(self, form: Form, identify: Callable[[object], None]) -> DocumentRead:
        """Add a document; `identify` is told of what was sent before anything is written."""
        async with self._received(form) as values:
            identify({**values, "file_id": None})
            if "name" not in values:
                raise wrong("name", "missing", "Field required")
            document = await self.rows.create({"id": uuid7(), "owner_id": self._owner_id, **values})
        return await self._signed(document)

    async def replace(self, key: UUID, form: Form, versions: list[int] | None) -> DocumentRead:
        """Change what the form has. Nobody uploads a file only to hear that it is in vain."""
        current = await self._current(key, versions)
        async with self._received(form) as values:
            if values:
                current = await self.rows.update(key, values, versions)
        return await self._signed(current)

    async def clean(self, key: UUID) -> None:
        """Remove the files that a document no longer has; what cannot be now, is by the sweeper."""
        with suppress(ServiceError):
            await self._files.remove_deleting(key)

    @asynccontextmanager
    async def _received(self, form: Form) -> AsyncIterator[dict[str, Any]]:
        """The columns that a form sets, its file in the store; unused when the block fails."""
        opened: list[tuple[UUID, Upload, FileHead]] = []
        room = ExitStack()

        async def open_sink(part: Part) -> Sink:
            if part.name == "file" and part.filename:
                head = _head(part)
                room.enter_context(self._storage.uploading())
                object_id, key = await self._files.record()
                upload = self._files.upload(key, lambda: self._files.objects.touch(object_id))
                opened.append((object_id, upload, head))
                return upload
            if part.name not in {"name", "file"}:
                raise wrong(part.name, "unknown_field", "There is no such field")
            if part.filename:
                raise wrong(part.name, "not_text", "Must be text, without a filename")
            return Text(part.name)

        try:
            sinks = await form.read(self._settings.max_upload_size, open_sink)
            values = _texts(sinks)
            for object_id, upload, head in opened:
                digest = await upload.finish()
                values |= {"file_id": object_id, "size": upload.size, "sha256": digest}
                values |= head.model_dump()
            yield values
        except BaseException as error:
            for object_id, upload, _ in opened:
                await self._give_up(object_id, upload, error)
            raise
        finally:
            room.close()

    async def _give_up(self, object_id: UUID, upload: Upload, error: BaseException) -> None:
        await upload.stop()
        if isinstance(error, asyncio.CancelledError):
            return  # the store may yet do what nobody waits for: the sweeper comes after that
        with suppress(ServiceError):  # the sweeper will do it
            if isinstance(error, Unavailable):  # the client has waited long enough
                await self._files.objects.condemn(object_id)
            else:
                await upload.abort()
                await self._files.discard(object_id, upload.key)

    async def _signed(self, document: DocumentRead) -> DocumentRead:
        await self._sign([document])
        return document

    async def _sign(self, documents: list[DocumentRead]) -> None:
        """Give each document that has a file its URL."""
        having = [document for document in documents if document.key]
        if not having:
            return
        seconds = self._settings.signed_url_ttl
        urls, expires = await self._storage.signed("GET", list(map(_download, having)), seconds)
        for document, url in zip(having, urls, strict=True):
            document.file_url, document.file_url_expires_at = url, expires


def _texts(sinks: dict[str, Sink]) -> dict[str, Any]:
    """The text fields. A browser sends an empty field for a file that was not chosen."""
    texts = {name: sink.value() for name, sink in sinks.items() if isinstance(sink, Text)}
    if texts.pop("file", ""):
        raise wrong("file", "not_a_file", "Must be a file, with a filename")
    return valid(DocumentForm, texts).model_dump(exclude_unset=True)


def _head(part: Part) -> FileHead:
    return valid(FileHead, {"filename": part.filename, "content_type": part.content_type}, "/file")


def _download(document: DocumentRead) -> Request:
    """No browser ever shows what a client has uploaded as a page of the store's."""
    filename = document.filename or ""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\%' else "_" for c in filename)
    named = f"filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe=_UNQUOTED)}"
    query = {"response-content-disposition": f"attachment; {named}"}
    return document.key or "", query | {"response-content-type": document.content_type or ""}
