"""Files that browsers and search engines request without being told: icon and robots.txt."""

from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response

from app.core.http._cacheable_page import CacheablePage
from app.core.http._guard import guard_added_routes
from app.core.http._html_pages import ICON_PATH

_STATIC_DIRECTORY: Final = Path(__file__).parent / "static"
# Browsers request the icon for every page that they open.
_HEADERS: Final = {"Cache-Control": "public, max-age=86400"}
# The content of a public service is data, which search engines must not list.
_ROBOTS: Final = b"User-agent: *\nDisallow: /\n"


def add_browser_files(app: FastAPI) -> None:
    """Add the public files `/favicon.ico`, `/favicon.svg` and `/robots.txt` to an application."""
    icon = (_STATIC_DIRECTORY / "favicon.ico").read_bytes()
    vector_icon = (_STATIC_DIRECTORY / "favicon.svg").read_bytes()
    with guard_added_routes(app, "public"):
        _add_file(app, "/favicon.ico", CacheablePage(icon, "image/x-icon", _HEADERS))
        _add_file(app, ICON_PATH, CacheablePage(vector_icon, "image/svg+xml", _HEADERS))
        _add_file(app, "/robots.txt", CacheablePage(_ROBOTS, "text/plain", _HEADERS))


def _add_file(app: FastAPI, path: str, file: CacheablePage) -> None:
    """Add a route that responds with a file."""

    async def show_file(request: Request) -> Response:
        return file.respond(request)

    app.add_api_route(path, show_file, include_in_schema=False)
