"""Swagger UI from our own origin, under a policy that lets its own script run and no other."""

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Final

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from app.core.http._guard import guard_routes
from app.settings import Settings

OPENAPI_PATH: Final = "/openapi.json"
FILES: Final = "/static-offline-docs"


def add_documentation(app: FastAPI, settings: Settings) -> None:
    """Add `/docs` with its files, `/openapi.json`, and a redirect from `/`. All are public."""
    first = len(app.router.routes)
    page = get_swagger_ui_html(
        openapi_url=OPENAPI_PATH,
        title=app.title,
        swagger_js_url=f"{FILES}/swagger-ui-bundle.js",
        swagger_css_url=f"{FILES}/swagger-ui.css",
        swagger_favicon_url=f"{FILES}/favicon.png",
        swagger_ui_parameters={"tryItOutEnabled": True, "displayRequestDuration": True},
    )
    headers = {"Content-Security-Policy": _policy(bytes(page.body), settings)}

    async def show() -> HTMLResponse:
        return HTMLResponse(page.body, headers=headers)

    async def lead() -> RedirectResponse:
        return RedirectResponse("/docs")

    app.openapi_url = OPENAPI_PATH
    app.setup()
    app.mount(FILES, StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static"))
    app.add_api_route("/docs", show, include_in_schema=False)
    app.add_api_route("/", lead, include_in_schema=False)
    guard_routes(app, first, "public")


def _policy(page: bytes, settings: Settings) -> str:
    scripts = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    hashes = " ".join(f"'sha256-{b64encode(sha256(each).digest()).decode()}'" for each in scripts)
    # `Try it out` follows signed URLs to the store.
    store = settings.s3_public_endpoint_url or settings.s3_endpoint_url or "https:"
    return (
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
        f"script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data: blob:; connect-src 'self' {store}"
    )
