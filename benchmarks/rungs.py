"""Servers that each contain a part of the layers of `GET /books/{id}`.

Their response is constant. `benchmarks.layers` measures them.
"""

from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from app.core.http import Router, add_routers
from app.core.schemas import Id
from app.main import create_app
from app.settings import Settings

# About as long as a book.
_BODY: Final = b'{"id":"%s"}' % (b"0" * 300)


async def server(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Respond without a framework: the lowest layer, which is uvicorn."""
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY})


async def _respond(_: Request) -> Response:
    """Return the constant response, as an endpoint of Starlette."""
    return Response(_BODY, media_type="application/json")


async def _session() -> None:
    """A dependency, like the session of the endpoints of the service."""


async def _read(
    id: Id,  # noqa: ARG001
    request: Request,
    session: Annotated[None, Depends(_session)],  # noqa: ARG001
) -> Response:
    """Return the constant response, as an endpoint of FastAPI."""
    return await _respond(request)


def service() -> FastAPI:
    """Create our application with an endpoint that does not use the database.

    Its route comes before the routes of the service, and so replaces `GET /books/{id}`.
    """
    app = create_app(Settings())
    router = Router(tags=["books"])
    router.get("/books/{id}", permission="catalog:read")(_read)
    routes = app.router.routes[:]
    app.router.routes.clear()
    add_routers(app, [router], http_fast_path=True)
    app.router.routes.extend(routes)
    return app


starlette = Starlette(routes=[StarletteRoute("/books/{id}", _respond)])
fastapi = FastAPI()
fastapi.get("/books/{id}")(_read)
