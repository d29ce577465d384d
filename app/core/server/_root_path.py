"""The middleware for a service that a reverse proxy publishes under a path prefix (ROOT_PATH)."""

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPathMiddleware:
    """Middleware that gives every path the prefix under which clients know it.

    With the prefix "/api", these are all the same resource, with the path "/api/books" in
    references and in the log:

        the request          comes from
        GET /books           a proxy that removes the prefix, or a health check without a proxy
        GET /api/books       a proxy that keeps the prefix
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        # For example "/api".
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set the path and the prefix of a request, as ASGI specifies them."""
        if scope["type"] != "lifespan":
            # Nothing outside of this middleware needs the path that was received.
            scope["root_path"] = self._root_path
            scope["path"] = self._add_prefix(scope["path"])
        await self._app(scope, receive, send)

    def _add_prefix(self, path: str) -> str:
        """Return a path with the prefix, which it may have already."""
        if path == self._root_path:
            # The root of the service has the path "/".
            return f"{path}/"
        if path.startswith(f"{self._root_path}/"):
            return path
        if path == "*":
            # `OPTIONS *` asks about the server, not about a resource.
            return path
        return self._root_path + path
