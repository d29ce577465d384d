"""Servers that each do a part of what answers `GET /books/{id}`; the answer is always the same."""

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

_BODY: Final = b'{"id":"%s"}' % (b"0" * 300)  # about as long as a book


async def server(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """What uvicorn takes."""
    if scope["type"] == "lifespan":
        for happened in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{happened}.complete"})
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY})


async def _answer(_: Request) -> Response:
    return Response(_BODY, media_type="application/json")


async def _session() -> None:
    """A dependency like that of the session."""


async def _read(
    id: Id,  # noqa: ARG001
    request: Request,
    session: Annotated[None, Depends(_session)],  # noqa: ARG001
) -> Response:
    return await _answer(request)


def service() -> FastAPI:
    """All of ours, but for what the database is asked for."""
    app = create_app(Settings())
    router = Router(tags=["books"])
    router.get("/books/{id}", permission="catalogue:read")(_read)
    routes = app.router.routes[:]
    app.router.routes.clear()
    add_routers(app, [router], http_fast_path=True)
    app.router.routes.extend(routes)
    return app


starlette = Starlette(routes=[StarletteRoute("/books/{id}", _answer)])
fastapi = FastAPI()
fastapi.get("/books/{id}")(_read)
