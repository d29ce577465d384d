"""The route of one endpoint, with the steps before and after the call of the endpoint's function.

A route performs these steps in order:

1. Authorize the request.
2. Reject unknown query parameters, and a body that is not strict JSON.
3. Handle the Idempotency-Key of a POST.
4. Open a transaction if the endpoint needs one.
5. Call the endpoint.
6. Add Cache-Control, and respond with 304 if the client has the current representation.
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
from app.core.http._bodies import (
    FORM_MEDIA_TYPE,
    JSON_MEDIA_TYPE,
    MERGE_PATCH_MEDIA_TYPE,
    ParsedRequest,
    parse_body,
)
from app.core.http._conditional import not_modified_response
from app.core.http._fast_dispatch import build_fast_handler
from app.core.http._query import allowed_query_parameters, check_query_parameters
from app.core.http._sessions import (
    Handler,
    needs_transaction,
    run_in_transaction,
    run_in_transaction_with_retry,
)

# The status of a response without content.
NO_CONTENT: Final = 204


class Route(APIRoute):
    """One endpoint of a Router.

    Args:
        path: For example `/books/{id}`.
        endpoint: The function that handles requests. Its name is the operation id.
        permission: What a caller has to be allowed to do, or "public".
        cache_control: The Cache-Control header of responses that do not set their own.
        has_location: True documents a Location header in the OpenAPI document.
        options: Arguments of FastAPI's APIRoute.
    """

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
        # An idempotency key belongs to a principal, and a request to a public route has none.
        self.accepts_idempotency_key = "POST" in (self.methods or ()) and permission != "public"
        # An endpoint that documents its body by itself also reads it by itself, as a stream.
        self.streams_body = bool((self.openapi_extra or {}).get("requestBody"))
        self.media_types = self._accepted_media_types()
        self._query_parameters = allowed_query_parameters(self.dependant)
        self._needs_transaction = needs_transaction(self.dependant)
        self._fixed_paths: frozenset[str] = frozenset()
        # `/books/` for `/books/{id}/content`
        self._literal_prefix = path.partition("{")[0]

    def copy_for_app(
        self, app: FastAPI, fixed_paths: frozenset[str], *, http_fast_path: bool
    ) -> "Route":
        """Return a copy of the route that serves one application.

        Routes are declared when a module is imported, and tests create several applications.

        Args:
            app: The application.
            fixed_paths: Every path of the application that has no parameters. They take precedence
                over this route: `/books/batch` does not match `/books/{id}`.
            http_fast_path: True calls the endpoint by the fast path if that supports it.
        """
        route = copy(self)
        route._fixed_paths = fixed_paths  # noqa: SLF001 - of this class
        route.dependency_overrides_provider = app
        route.app = request_response(route.get_route_handler())
        if http_fast_path:
            fast_handler = build_fast_handler(route)
            if fast_handler is not None:
                route.app = _FastRouteApp(app, route.wrap_endpoint_call(fast_handler), route.app)
        return route

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the path and the method of a request match, and the path parameters."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        # Comparing the prefix rules out most routes without their slower regular expression.
        if not path.startswith(self._literal_prefix):
            return Match.NONE, {}
        if self.param_convertors and path in self._fixed_paths:
            return Match.NONE, {}
        return super().matches(scope)

    def get_route_handler(self) -> Any:
        """Return FastAPI's handler of the endpoint, inside the steps of this class."""
        return self.wrap_endpoint_call(super().get_route_handler())

    def wrap_endpoint_call(self, call_endpoint: Handler) -> Handler:
        """Return a handler with the steps before and after the call of the endpoint.

        The module docstring lists these steps.
        """

        async def call_and_complete(request: Request) -> Response:
            response = await call_endpoint(request)
            return self._complete_response(request, response)

        async def handle(request: Request) -> Response:
            await authorize(request, self.permission)
            if request.scope["query_string"]:
                check_query_parameters(request, self._query_parameters)
            if self.body_field is not None:
                request = await parse_body(request, self.media_types)
            key = idempotency.parse_key(request) if self.accepts_idempotency_key else None
            if key is not None:
                content = self._content_to_compare(request)
                return await idempotency.run_idempotently(request, key, content, call_and_complete)
            if self._needs_transaction and self.streams_body:
                # The body can be read only once, so the request cannot be handled again.
                return await run_in_transaction(request, call_and_complete)
            if self._needs_transaction:
                return await run_in_transaction_with_retry(request, call_and_complete)
            return await call_and_complete(request)

        return handle

    def _content_to_compare(self, request: Request) -> object:
        """Return the content that a retry with the same Idempotency-Key has to repeat.

        This is the parsed body, or "" if the endpoint takes none. It is None for an endpoint that
        reads its body as a stream, because that endpoint states the content itself.
        """
        if isinstance(request, ParsedRequest):
            return request.value
        if self.streams_body:
            return None
        return ""

    def _complete_response(self, request: Request, response: Response) -> Response:
        """Add Cache-Control, and replace the response by a 304 if the client has it already."""
        if self.cache_control is not None and response.status_code != NO_CONTENT:
            response.headers.setdefault("Cache-Control", self.cache_control)
        if request.method == "GET":
            return not_modified_response(request, response) or response
        return response

    def _accepted_media_types(self) -> list[str]:
        """Return the values of Content-Type that the endpoint accepts."""
        if self.streams_body:
            return [*(self.openapi_extra or {})["requestBody"]["content"]]
        if self.body_field is not None and isinstance(self.body_field.field_info, params.Form):
            return [FORM_MEDIA_TYPE]
        if "PATCH" in (self.methods or ()):
            return [JSON_MEDIA_TYPE, MERGE_PATCH_MEDIA_TYPE]
        return [JSON_MEDIA_TYPE]


class _FastRouteApp:
    """ASGI application of a route that the fast path supports.

    FastAPI handles the request if a test overrides dependencies, which the fast path ignores.

    Args:
        app: The application to which the route belongs.
        handle: The handler that calls the endpoint by the fast path.
        fastapi_route_app: The ASGI application that FastAPI built for the same route.
    """

    def __init__(self, app: FastAPI, handle: Handler, fastapi_route_app: ASGIApp) -> None:
        self._app = app
        self._handle = handle
        self._fastapi_route_app = fastapi_route_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app.dependency_overrides:
            await self._fastapi_route_app(scope, receive, send)
            return
        response = await self._handle(Request(scope, receive, send))
        await response(scope, receive, send)
