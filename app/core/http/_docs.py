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

from app.core.http._guard import guard_added_routes
from app.settings import Settings

OPENAPI_PATH: Final = "/openapi.json"
# The path of the JavaScript, CSS and icon of Swagger UI.
STATIC_PATH: Final = "/static-offline-docs"


def add_documentation(app: FastAPI, settings: Settings) -> None:
    """Add the public pages of the API documentation to an application.

    These are Swagger UI at `/docs` with its static files, the OpenAPI document at `/openapi.json`,
    and a redirect from `/` to `/docs`.
    """
    static_url = settings.root_path + STATIC_PATH
    swagger_page = get_swagger_ui_html(
        openapi_url=settings.root_path + OPENAPI_PATH,
        title=app.title,
        swagger_js_url=f"{static_url}/swagger-ui-bundle.js",
        swagger_css_url=f"{static_url}/swagger-ui.css",
        swagger_favicon_url=f"{static_url}/favicon.png",
        swagger_ui_parameters={"tryItOutEnabled": True, "displayRequestDuration": True},
    )
    html = bytes(swagger_page.body)
    headers = {"Content-Security-Policy": _build_content_security_policy(html, settings)}

    async def show_swagger_ui() -> HTMLResponse:
        return HTMLResponse(html, headers=headers)

    async def redirect_to_swagger_ui() -> RedirectResponse:
        return RedirectResponse(f"{settings.root_path}/docs")

    static_files = Path(fastapi_offline.__file__).parent / "static"
    with guard_added_routes(app, "public"):
        # `setup` adds the route of the OpenAPI document. The constructor of the application did not
        # add it, because it got `openapi_url=None`.
        app.openapi_url = OPENAPI_PATH
        app.setup()
        app.mount(STATIC_PATH, StaticFiles(directory=static_files))
        app.add_api_route("/docs", show_swagger_ui, include_in_schema=False)
        app.add_api_route("/", redirect_to_swagger_ui, include_in_schema=False)


def _build_content_security_policy(html: bytes, settings: Settings) -> str:
    """Return the Content-Security-Policy header of the Swagger UI page.

    It allows the page to load files from this service, to run the inline scripts that `html`
    contains, and to send requests to this service and the object store (S3). Swagger UI needs the
    object store because downloads of documents redirect to it.
    """
    inline_scripts = re.findall(rb"<script>(.*?)</script>", html, re.DOTALL)
    script_hashes = " ".join(_build_hash_source(script) for script in inline_scripts)
    object_store_url = settings.s3_public_endpoint_url or settings.s3_endpoint_url
    # Without a configured URL, the S3 client chooses the host, so allow any HTTPS host.
    connect_source = object_store_url or "https:"
    return (
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
        f"script-src 'self' {script_hashes}; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data: blob:; connect-src 'self' {connect_source}"
    )


def _build_hash_source(script: bytes) -> str:
    """Return the hash by which a policy allows an inline script, such as `'sha256-qznLc...'`."""
    digest = sha256(script).digest()
    return f"'sha256-{b64encode(digest).decode()}'"
