"""One request with an Idempotency-Key: whether it repeats an earlier request, and its response."""

import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from json import dumps
from typing import Final

from fastapi import Request, Response

from app.core.db import Database, Row, Session
from app.core.errors import IdempotencyKeyReused, RequestInProgress
from app.core.http._request_state import request_state
from app.core.http._resources import http_resources
from app.core.http._root_path import get_route_path
from app.core.idempotency import StoredResponseRepository
from app.core.observability import IDEMPOTENT_REPLAYS

# Callers without a token share their idempotency keys. They have this id, which no user has.
_ANONYMOUS_USER_ID: Final = 0


class ReplayStoredResponse(Exception):
    """Raised to end the handling of a request whose response is already stored.

    It is an exception because it has to leave the handler and roll back what the handler wrote.
    """


class IdempotentRequest:
    """A request with an Idempotency-Key, and the response to an earlier request with this key.

    A key belongs to a user, so two users may send the same key. The fingerprint of a request is a
    digest of its path, query and content. A retry has to have the same fingerprint.
    """

    def __init__(self, request: Request, key: str) -> None:
        """Derive the id of the stored response from the user and their Idempotency-Key.

        The id is a digest, so that the key itself is not stored in the database.
        """
        user_id = _user_id(request)
        self._is_anonymous = user_id == _ANONYMOUS_USER_ID
        self._response_id = sha256(f"{user_id} {key}".encode()).digest()
        self._key = key.encode()
        self._path_and_query = _path_and_query(request)
        self._response_ids_in_progress = http_resources(request).idempotent_requests_in_progress

        # Set by `identify`, as soon as the content of the request is known.
        self._fingerprint: bytes | None = None
        # Set by `load_stored_response`.
        self._stored_response: Row | None = None

    @property
    def may_store_errors(self) -> bool:
        """Return whether an error response to this request is stored.

        Errors of callers without a token are not stored, because anyone could send any number of
        them. An error cannot be stored before `identify` has been called.
        """
        is_identified = self._fingerprint is not None
        return is_identified and not self._is_anonymous

    @contextmanager
    def in_progress(self) -> Iterator[None]:
        """Reject other requests with the same Idempotency-Key while the block runs.

        Raises `RequestInProgress` if this process is already handling such a request. Requests in
        other processes are not rejected, but wait in `store_response`.
        """
        if self._response_id in self._response_ids_in_progress:
            raise RequestInProgress
        self._response_ids_in_progress.add(self._response_id)
        try:
            yield
        finally:
            self._response_ids_in_progress.discard(self._response_id)

    async def load_stored_response(self, database: Database) -> None:
        """Look up whether a response is stored for the Idempotency-Key, and remember it."""
        repository = StoredResponseRepository(database.locking_reads)
        self._stored_response = await repository.find_response(self._response_id)

    def identify(self, content: object) -> None:
        """Compute the fingerprint of the request from its path, its query and its content.

        Raises `ReplayStoredResponse` if a response has been loaded, so that the handler ends.

        Args:
            content: The parsed body, or for example the digest of an uploaded file.
        """
        message = dumps([self._path_and_query, content], sort_keys=True, default=str).encode()
        # The content may contain a password. Nobody can guess it from the stored fingerprint,
        # because the Idempotency-Key, which this digest depends on, is not stored.
        self._fingerprint = hmac.digest(self._key, message, "sha256")
        if self._stored_response is not None:
            raise ReplayStoredResponse

    async def store_response(self, session: Session, response: Response) -> None:
        """Store a response in the database, so that a retry of the request gets it as well.

        Raises `ReplayStoredResponse` if another process has stored a response for this key first.
        """
        # A handler that streams the body has to call `identify` before it returns.
        assert self._fingerprint is not None  # noqa: S101
        headers = dict(response.headers)
        # `replay` computes the length again.
        headers.pop("content-length", None)

        is_stored = await StoredResponseRepository(session).add_response(
            self._response_id,
            self._fingerprint,
            response.status_code,
            headers,
            bytes(response.body),
        )
        if not is_stored:
            raise ReplayStoredResponse

    async def replay(self, database: Database) -> Response:
        """Return the stored response, with the additional header `Idempotency-Replayed: true`.

        Raises `IdempotencyKeyReused` if it is the response to a different request.
        """
        if self._stored_response is None:
            # Another process has stored the response while this one handled the same request.
            await self.load_stored_response(database)
        stored_response = self._stored_response
        if stored_response is None:
            # The response of the other process has expired since then, so a retry will succeed.
            raise RequestInProgress

        if stored_response["fingerprint"] != self._fingerprint:
            raise IdempotencyKeyReused

        IDEMPOTENT_REPLAYS.inc()
        headers = {**stored_response["headers"], "Idempotency-Replayed": "true"}
        return Response(stored_response["body"], stored_response["status"], headers)


def _user_id(request: Request) -> int:
    """Return the id of the user who sent a request, or 0 if the request has no token."""
    principal = request_state(request.scope).principal
    if principal is None or principal.user_id is None:
        return _ANONYMOUS_USER_ID
    return principal.user_id


def _path_and_query(request: Request) -> str:
    """Return the path and the query of a request, for example `/books?dry_run=true`.

    The path has no prefix, so that a retry may be sent with another one.
    """
    path = get_route_path(request.scope)
    query: bytes = request.scope["query_string"]
    if not query:
        return path
    return f"{path}?{query.decode('latin-1')}"
