"""The route of one endpoint, with the steps before and after the call of the endpoint's function.

A route performs these steps in order:

1. Authorize the request, and reject a body whose Content-Length is too large.
2. Reject unknown query parameters, and a large body of a caller who sends too many of them.
   Then read the body, and reject it if it is not strict JSON.
3. Handle the Idempotency-Key of a POST.
4. Open a transaction if the endpoint needs one.
5. Call the endpoint.
6. Add Cache-Control, and respond with 304 if the client has the current representation.
"""

from collections.abc import Callable
from copy import copy
from http.client import NO_CONTENT
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi._compat import ModelField
from fastapi.routing import APIRoute, request_response
from starlette.routing import Match
from starlette.types import Scope

from app.core.access import Permission
from app.core.http._accepted_content import get_accepted_media_types, reads_body_as_stream
from app.core.http._authorization import authorize
from app.core.http._bodies import (
    MAX_BODY_SIZE,
    ParsedRequest,
    check_content_length,
    parse_body,
    reserve_large_body,
)
from app.core.http._conditional import not_modified_response
from app.core.http._fast_dispatch import build_fast_handler
from app.core.http._fast_route_app import FastRouteApp
from app.core.http._headers import has_header, set_default_header
from app.core.http._idempotency import run_idempotently
from app.core.http._idempotency_key import parse_idempotency_key
from app.core.http._query import allowed_query_parameters, check_query_parameters
from app.core.http._sessions import (
    Handler,
    needs_transaction,
    run_in_transaction,
    run_in_transaction_with_retries,
)
from app.core.token_scopes import TokenScope


class Route(APIRoute):
    """The route of one endpoint that a Router declares."""

    # The paths that have another route, although they match this one. `copy_for_app` sets them.
    _literal_paths: frozenset[str] = frozenset()
    # Handles a request without FastAPI. None if the fast path is off or does not support the
    # endpoint. `copy_for_app` sets it.
    fast_handler: Handler | None = None

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        permission: Permission,
        token_scope: TokenScope | None,
        cache_control: str,
        has_location: bool,
        max_body_size: int = MAX_BODY_SIZE,
        **options: Any,
    ) -> None:
        """Create the route, and determine how to handle its requests.

        Args:
            path: For example `/books/{id}`.
            endpoint: The function that handles requests. Its name is the operation id.
            permission: The permission that a caller needs, or "public".
            token_scope: The scope that a token needs. None accepts every token.
            cache_control: The Cache-Control header of responses that do not set their own.
            has_location: True documents a Location header in the OpenAPI document.
            max_body_size: The maximum size in bytes of a body that is not read as a stream.
            options: Arguments of FastAPI's APIRoute.
        """
        super().__init__(path, endpoint, operation_id=endpoint.__name__, **options)
        self.permission: Permission = permission
        self.token_scope = token_scope
        self.cache_control = cache_control
        self._encoded_cache_control = cache_control.encode()
        self.has_location = has_location
        self.body_size_limit = max_body_size
        self.has_large_body = max_body_size > MAX_BODY_SIZE
        # An idempotency key belongs to a principal, and public routes do not look up the principal.
        self.accepts_idempotency_key = "POST" in (self.methods or ()) and permission != "public"
        self.streams_body = reads_body_as_stream(self)
        self.media_types = get_accepted_media_types(self)
        self._query_parameters = allowed_query_parameters(self.dependant)
        self._needs_transaction = needs_transaction(self.dependant)
        # The beginning of each matching path: `/books/` if the path is `/books/{id}/content`.
        self._literal_prefix = path.partition("{")[0]

    def copy_for_app(
        self, app: FastAPI, literal_paths: frozenset[str], *, http_fast_path: bool
    ) -> "Route":
        """Return a copy of the route that handles the requests of one application.

        A route is declared once, when its module is imported, but tests create several
        applications.

        Args:
            app: The application.
            literal_paths: The paths of the application that have no parameters. They take
                precedence over paths that have: `/books/batch` does not match `/books/{id}`.
            http_fast_path: The setting HTTP_FAST_PATH. True uses the fast path, which calls the
                endpoint directly instead of through FastAPI, if it supports the endpoint.
        """
        route = copy(self)
        route._literal_paths = literal_paths  # noqa: SLF001 - an attribute of the same class
        # FastAPI looks up `dependency_overrides`, which tests may set, in this object.
        route.dependency_overrides_provider = app
        route.app = request_response(route.get_route_handler())
        if http_fast_path:
            call_endpoint = build_fast_handler(route)
            if call_endpoint is not None:
                route.fast_handler = route.build_request_handler(call_endpoint)
                route.app = FastRouteApp(app, route.fast_handler, route.app)
        return route

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether a request has the path and the method of this route.

        If it does, the second value contains the path parameters, for example
        `{"path_params": {"id": "7"}, ...}`. The router adds it to the scope of the request.
        """
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        # Comparing the literal prefix is faster than the regular expression of Starlette.
        if not path.startswith(self._literal_prefix):
            return Match.NONE, {}
        # `/books/batch` has a route of its own, so it is not the path of the book with id "batch".
        has_path_parameters = bool(self.param_convertors)
        if has_path_parameters and path in self._literal_paths:
            return Match.NONE, {}
        return super().matches(scope)

    def match_path(self, path: str) -> dict[str, Any] | None:
        """Return the path parameters of a path, or None if this route does not have the path."""
        if not path.startswith(self._literal_prefix) or path in self._literal_paths:
            return None
        match = self.path_regex.match(path)
        if match is None:
            return None
        return match.groupdict()

    def get_route_handler(self) -> Any:
        """Return the function that handles a request and lets FastAPI call the endpoint.

        FastAPI's own function calls the endpoint without the checks that all our routes have.
        """
        return self.build_request_handler(super().get_route_handler())

    def build_request_handler(self, call_endpoint: Handler) -> Handler:
        """Return a function that checks a request, calls the endpoint and sets Cache-Control.

        Args:
            call_endpoint: Calls the function of the endpoint with the parameters of a request. It
                is built by FastAPI or by `build_fast_handler`.
        """

        async def call_and_apply_caching(request: Request) -> Response:
            """Call the endpoint, and apply the rules of HTTP caching to its response."""
            response = await call_endpoint(request)
            return self._apply_caching(request, response)

        async def handle_checked_request(request: Request) -> Response:
            """Read the body of a request, then call the endpoint."""
            if self.body_field is not None:
                request = await self._parse_body(request, self.body_field)

            if self.accepts_idempotency_key:
                key = parse_idempotency_key(request)
                if key is not None:
                    content = self._get_content_to_compare(request)
                    return await run_idempotently(request, key, content, call_and_apply_caching)
            if not self._needs_transaction:
                return await call_and_apply_caching(request)
            if self.streams_body:
                # A stream can be read only once, so a failed transaction cannot be retried.
                return await run_in_transaction(request, call_and_apply_caching)
            return await run_in_transaction_with_retries(request, call_and_apply_caching)

        return self._build_checks(handle_checked_request)

    def _build_checks(self, handle_checked_request: Handler) -> Handler:
        """Return a function that checks a request before its body is read, and then handles it."""

        async def handle_request(request: Request) -> Response:
            """Authorize and check a request, then handle it."""
            await authorize(request, self.permission, self.token_scope)
            # An endpoint that reads its body as a stream has its own limit.
            if not self.streams_body:
                check_content_length(request, self.body_size_limit)
            if request.scope["query_string"]:
                check_query_parameters(request, self._query_parameters)
            if not self.has_large_body:
                return await handle_checked_request(request)
            with reserve_large_body(request, self.body_size_limit):
                return await handle_checked_request(request)

        return handle_request

    async def _parse_body(self, request: Request, body_field: ModelField) -> ParsedRequest:
        """Read and parse the body of a request. `body_field` is FastAPI's description of it."""
        # A request may have no body if the parameter of the endpoint has a default.
        is_required = body_field.field_info.is_required()
        return await parse_body(
            request, self.media_types, self.body_size_limit, is_required=is_required
        )

    def _get_content_to_compare(self, request: Request) -> object:
        """Return the content that a retry with the same Idempotency-Key has to repeat.

        This is the parsed body, or "" if there is none. Returns None if the endpoint reads its body
        as a stream, because the content is not known before it is read.
        """
        if self.streams_body:
            return None
        if isinstance(request, ParsedRequest) and request.parsed_body is not None:
            return request.parsed_body
        return ""

    def _apply_caching(self, request: Request, response: Response) -> Response:
        """Set the Cache-Control header of a response, and return the response to send.

        This is a 304 response without content if the If-None-Match header of a GET request shows
        that the client already has the content. Otherwise, it is the same response.
        """
        if response.status_code != NO_CONTENT:
            set_default_header(response, b"cache-control", self._encoded_cache_control)
        # Most clients do not send the header, and looking for it takes less time than parsing it.
        if request.method == "GET" and has_header(request, b"if-none-match"):
            return not_modified_response(request, response) or response
        return response
