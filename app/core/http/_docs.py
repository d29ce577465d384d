"""Swagger UI at `/docs`, served by this application under a Content-Security-Policy."""

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
# The path of the JavaScript, CSS and icon of Swagger UI.
STATIC_PATH: Final = "/static-offline-docs"


def add_documentation(app: FastAPI, settings: Settings) -> None:
    """Add `/docs` with its files, `/openapi.json`, and a redirect from `/`. All are public."""
    number_of_other_routes = len(app.router.routes)
    page = get_swagger_ui_html(
        openapi_url=OPENAPI_PATH,
        title=app.title,
        swagger_js_url=f"{STATIC_PATH}/swagger-ui-bundle.js",
        swagger_css_url=f"{STATIC_PATH}/swagger-ui.css",
        swagger_favicon_url=f"{STATIC_PATH}/favicon.png",
        swagger_ui_parameters={"tryItOutEnabled": True, "displayRequestDuration": True},
    )
    headers = {"Content-Security-Policy": _content_security_policy(bytes(page.body), settings)}

    async def show_documentation() -> HTMLResponse:
        return HTMLResponse(page.body, headers=headers)

    async def redirect_to_documentation() -> RedirectResponse:
        return RedirectResponse("/docs")

    app.openapi_url = OPENAPI_PATH
    # Adds the route of the OpenAPI document, because the application was created without its URL.
    app.setup()
    static_files = Path(fastapi_offline.__file__).parent / "static"
    app.mount(STATIC_PATH, StaticFiles(directory=static_files))
    app.add_api_route("/docs", show_documentation, include_in_schema=False)
    app.add_api_route("/", redirect_to_documentation, include_in_schema=False)
    guard_routes(app, "public", start=number_of_other_routes)


def _content_security_policy(page: bytes, settings: Settings) -> str:
    """Return the value of a Content-Security-Policy header for the page of Swagger UI.

    It allows files of our own origin, the inline scripts of the page by their hashes, and requests
    to this service and to the object store, because `Try it out` follows redirects to signed URLs.
    """
    inline_scripts = re.findall(rb"<script>(.*?)</script>", page, re.DOTALL)
    hashes = " ".join(_hash_source(script) for script in inline_scripts)
    object_store = settings.s3_public_endpoint_url or settings.s3_endpoint_url or "https:"
    return (
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
        f"script-src 'self' {hashes}; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data: blob:; connect-src 'self' {object_store}"
    )


def _hash_source(script: bytes) -> str:
    """Return the source expression that allows an inline script, such as `'sha256-qznLc...'`."""
    return f"'sha256-{b64encode(sha256(script).digest()).decode()}'"
