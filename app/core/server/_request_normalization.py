"""Middleware for HEAD requests and trailing slashes, for which no routes are declared."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.http import request_state


class RequestNormalizationMiddleware:
    """Middleware that serves HEAD requests and paths with a trailing slash.

    Routes are declared only for methods such as GET and for paths such as `/books`. This middleware
    routes `HEAD /books/` like `GET /books`. The response to a HEAD request has the headers of the
    response to GET, but no body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route a HEAD request as GET, and a path without its trailing slash."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        path = scope["path"]
        is_head = scope["method"] == "HEAD"
        root = scope.get("root_path", "") + "/"
        has_trailing_slash = path.endswith("/") and path != root
        if not is_head and not has_trailing_slash:
            await self._app(scope, receive, send)
            return

        # Change a copy, because the outer middleware logs the method and path that the client sent.
        normalized_scope = dict(scope)
        if has_trailing_slash:
            normalized_scope["path"] = path.removesuffix("/")
        if is_head:
            normalized_scope["method"] = "GET"
            # Endpoints that stream a list read this flag, and then do not query the database.
            request_state(normalized_scope).is_head = True
            send = _wrap_to_drop_body(send)

        try:
            await self._app(normalized_scope, receive, send)
        finally:
            # The router has recorded the route in the copy. The outer middleware logs it.
            scope["route"] = normalized_scope.get("route")
            scope["endpoint"] = normalized_scope.get("endpoint")


def _wrap_to_drop_body(send: Send) -> Send:
    """Return a replacement for `send` that sends a response without its body.

    All headers are kept, including the Content-Length of the body.
    """

    async def send_without_body(message: Message) -> None:
        if "body" in message:
            message = {**message, "body": b""}
        await send(message)

    return send_without_body
