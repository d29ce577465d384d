"""HEAD requests and paths with a trailing slash, for which no routes are declared."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.http import request_state


class HeadAndTrailingSlash:
    """Middleware that routes a HEAD request as GET, and `/books/` as `/books`.

    The response to a HEAD request has the headers of the response to GET, but no body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        is_head = scope["method"] == "HEAD"
        has_trailing_slash = path.endswith("/") and path != "/"
        if not is_head and not has_trailing_slash:
            await self._app(scope, receive, send)
            return
        routed_scope = dict(scope)
        if has_trailing_slash:
            routed_scope["path"] = path[:-1]
        if is_head:
            routed_scope["method"] = "GET"
            request_state(routed_scope).is_head = True
            send = _drop_response_body(send)
        try:
            await self._app(routed_scope, receive, send)
        finally:
            # The outer middleware logs the original scope and needs the route from there.
            scope["route"] = routed_scope.get("route")
            scope["endpoint"] = routed_scope.get("endpoint")


def _drop_response_body(send: Send) -> Send:
    """Wrap `send` so that a response keeps its headers, including Content-Length, but no body."""

    async def send_without_body(message: Message) -> None:
        if "body" in message:
            message = {**message, "body": b""}
        await send(message)

    return send_without_body
