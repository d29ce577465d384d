"""HEAD requests and trailing slashes, which the routes do not know of."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.http import request_state


class HeadAndTrailingSlash:
    """Middleware that routes HEAD like GET, and a path with a trailing slash like one without."""

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
            send = _without_body(send)
        try:
            await self._app(routed_scope, receive, send)
        finally:
            # The log line is written with the original scope, and names the route.
            scope["route"] = routed_scope.get("route")
            scope["endpoint"] = routed_scope.get("endpoint")


def _without_body(send: Send) -> Send:
    """Return a `send` that keeps the headers of a response, among them its length, but no body."""

    async def send_headers(message: Message) -> None:
        if "body" in message:
            message = {**message, "body": b""}
        await send(message)

    return send_headers
