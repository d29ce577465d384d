"""One endpoint: the steps that a route performs before and after it calls its function.

In this order, a route authorizes the request, rejects unknown query parameters and bodies that are
not strict JSON, handles Idempotency-Key, opens a transaction for an endpoint that needs one, calls
the endpoint, and completes the response with Cache-Control or as a 304.
"""

from collections.abc import Callable
from copy import copy
from typing import Any, Final

from fastapi import FastAPI, Request, Response, params
from fastapi.routing import APIRoute, request_response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.access import Permission
from app.core.http import _idempotency as idempotency
from app.core.http._authorization import authorize
from app.core.http._bodies import FORM, JSON, MERGE_PATCH, ParsedRequest, parse_body
from app.core.http._conditional import not_modified
from app.core.http._fast_dispatch import compile_handler
from app.core.http._query import check_query, query_parameters
from app.core.http._sessions import (
    Handler,
    needs_transaction,
    run_in_transaction,
    run_in_transaction_with_retry,
)

NO_CONTENT: Final = 204


class Route(APIRoute):
    """One endpoint of a Router."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        permission: Permission,
        cache_control: str | None,
        has_location: bool,
        **options: Any,
    ) -> None:
        super().__init__(path, endpoint, operation_id=endpoint.__name__, **options)
        self.permission: Permission = permission
        self.cache_control = cache_control
        self.has_location = has_location
        # Idempotency keys belong to a principal, and a public route has none.
        self.accepts_idempotency_key = "POST" in (self.methods or ()) and permission != "public"
        # An endpoint that describes its body itself also reads it itself, as a stream.
        self.streams_body = bool((self.openapi_extra or {}).get("requestBody"))
        self.media_types = self._media_types()
        self._query_parameters = query_parameters(self.dependant)
        self._needs_transaction = needs_transaction(self.dependant)
        self.fixed_paths: frozenset[str] = frozenset()
        self._literal_prefix = path.partition("{")[0]

    def bind(self, app: FastAPI, fixed_paths: frozenset[str], *, fast_dispatch: bool) -> "Route":
        """Return a copy of the route for one application. Tests create several of them.

        `fixed_paths` are the paths of the application without parameters, for example
        `/books/batch`: `batch` is not the id of a book.
        """
        route = copy(self)
        route.fixed_paths = fixed_paths
        route.dependency_overrides_provider = app
        route.app = request_response(route.get_route_handler())
        fast_handler = compile_handler(route) if fast_dispatch else None
        if fast_handler is not None:
            route.app = _FastApp(app, route.add_steps(fast_handler), route.app)
        return route

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        # Most routes are ruled out without their regular expression.
        if not path.startswith(self._literal_prefix):
            return Match.NONE, {}
        if self.param_convertors and path in self.fixed_paths:
            return Match.NONE, {}
        return super().matches(scope)

    def get_route_handler(self) -> Any:
        """Return FastAPI's handler of the endpoint, with the steps of this class around it."""
        return self.add_steps(super().get_route_handler())

    def add_steps(self, call_endpoint: Handler) -> Handler:
        """Return a handler that does what this class adds around the call of the endpoint."""

        async def call_and_complete(request: Request) -> Response:
            response = await call_endpoint(request)
            return self._complete(request, response)

        async def handle(request: Request) -> Response:
            await authorize(request, self.permission)
            if request.scope["query_string"]:
                check_query(request, self._query_parameters)
            if self.body_field is not None:
                request = await parse_body(request, self.media_types)
            key = idempotency.parse_key(request) if self.accepts_idempotency_key else None
            if key is not None:
                content = self._content(request)
                return await idempotency.run_idempotently(request, key, content, call_and_complete)
            if self._needs_transaction and self.streams_body:
                # The body can be read only once, so the request cannot be handled again.
                return await run_in_transaction(request, call_and_complete)
            if self._needs_transaction:
                return await run_in_transaction_with_retry(request, call_and_complete)
            return await call_and_complete(request)

        return handle

    def _content(self, request: Request) -> object:
        """Return what a retry with the same Idempotency-Key must repeat.

        That is the parsed body, or "" if there is none. It is None for a body that the endpoint
        reads as a stream: the endpoint itself states the content.
        """
        if isinstance(request, ParsedRequest):
            return request.value
        return None if self.streams_body else ""

    def _complete(self, request: Request, response: Response) -> Response:
        if self.cache_control is not None and response.status_code != NO_CONTENT:
            response.headers.setdefault("Cache-Control", self.cache_control)
        if request.method == "GET":
            return not_modified(request, response) or response
        return response

    def _media_types(self) -> list[str]:
        if self.streams_body:
            return [*(self.openapi_extra or {})["requestBody"]["content"]]
        if self.body_field is not None and isinstance(self.body_field.field_info, params.Form):
            return [FORM]
        if "PATCH" in (self.methods or ()):
            return [JSON, MERGE_PATCH]
        return [JSON]


class _FastApp:
    """Uses the compiled handler of a route, or FastAPI's if a test overrides dependencies."""

    def __init__(self, app: FastAPI, handle: Handler, fastapi_app: ASGIApp) -> None:
        self._app = app
        self._handle = handle
        self._fastapi_app = fastapi_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app.dependency_overrides:
            await self._fastapi_app(scope, receive, send)
            return
        response = await self._handle(Request(scope, receive, send))
        await response(scope, receive, send)
