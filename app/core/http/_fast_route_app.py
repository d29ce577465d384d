"""The ASGI application of a route that uses the HTTP fast path."""

from fastapi import FastAPI, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.http._sessions import Handler


class FastRouteApp:
    """ASGI application of a route whose endpoint is called directly instead of through FastAPI.

    If a test sets `app.dependency_overrides`, FastAPI calls the endpoint, because a direct call
    would ignore them.

    Args:
        app: The application to which the route belongs.
        handle_request: Handles a request with a direct call of the endpoint.
        fastapi_route_app: The ASGI application that FastAPI built for the same route.
    """

    def __init__(self, app: FastAPI, handle_request: Handler, fastapi_route_app: ASGIApp) -> None:
        self._app = app
        self._handle_request = handle_request
        self._fastapi_route_app = fastapi_route_app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request and send the response."""
        if self._app.dependency_overrides:
            await self._fastapi_route_app(scope, receive, send)
            return
        response = await self._handle_request(Request(scope, receive, send))
        await response(scope, receive, send)
