"""Swagger UI at `/docs`, served by this application under a Content-Security-Policy."""

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import fastapi_offline
from fastapi import FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from app.core.http._bodies import JSON_MEDIA_TYPE
from app.core.http._cacheable_page import CacheablePage
from app.core.http._guard import guard_added_routes
from app.settings import Settings

OPENAPI_PATH: Final = "/openapi.json"
# The path of the JavaScript, CSS and icon of Swagger UI.
STATIC_PATH: Final = "/static-offline-docs"
# A new version of the service may contain a new Swagger UI, at the same path.
STATIC_MAX_AGE: Final = 3600  # seconds


def add_documentation(app: FastAPI, settings: Settings) -> None:
    """Add the public pages of the API documentation to an application.

    These are Swagger UI at `/docs` with its static files, and the OpenAPI document at
    `/openapi.json`.
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
    documentation = CacheablePage(html, "text/html", headers)

    async def show_swagger_ui(request: Request) -> Response:
        return documentation.respond(request)

    static_files = Path(fastapi_offline.__file__).parent / "static"
    with guard_added_routes(app, "public"):
        _add_openapi_document(app)
        app.mount(STATIC_PATH, _CacheableFiles(directory=static_files))
        app.add_api_route("/docs", show_swagger_ui, include_in_schema=False)


def _add_openapi_document(app: FastAPI) -> None:
    """Add the route of the OpenAPI document to an application."""

    @cache
    def build_page() -> CacheablePage:
        """Build the page with the first request, because more routes may be added until then."""
        content = JSONResponse(app.openapi()).body
        return CacheablePage(bytes(content), JSON_MEDIA_TYPE)

    async def show_openapi_document(request: Request) -> Response:
        return build_page().respond(request)

    app.add_api_route(OPENAPI_PATH, show_openapi_document, include_in_schema=False)


class _CacheableFiles(StaticFiles):
    """Static files that browsers may use for an hour without asking. They have an ETag."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return the response with a file, or a 304 response, for the arguments of Starlette."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = f"public, max-age={STATIC_MAX_AGE}"
        return response


def _build_content_security_policy(html: bytes, settings: Settings) -> str:
    """Return the Content-Security-Policy header of the Swagger UI page.

    It allows the page to load files from this service, to run the inline scripts that `html`
    contains, and to send requests to this service and the object store (S3). Swagger UI needs the
    object store because downloads of documents redirect to it.
    """
    inline_scripts = re.findall(rb"<script>(.*?)</script>", html, re.DOTALL)
    script_hashes = " ".join(_build_hash_source(script) for script in inline_scripts)
    return (
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
        f"script-src 'self' {script_hashes}; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data: blob:; connect-src 'self' {_get_object_store_sources(settings)}"
    )


def _get_object_store_sources(settings: Settings) -> str:
    """Return the sources that allow signed URLs, for example `https://s3.example.com`."""
    url = settings.s3_public_endpoint_url or settings.s3_endpoint_url
    if url is None:
        # The S3 client chooses the URL, which may be that of `AWS_ENDPOINT_URL_S3`.
        return "http: https:"
    parts = urlsplit(url)
    if parts.netloc.startswith("["):
        # A source cannot contain an IPv6 address.
        return f"{parts.scheme}:"
    host = parts.netloc
    if settings.s3_addressing_style == "virtual":
        host = f"{settings.s3_bucket}.{host}"
    # A source with a path would allow only this path.
    return f"{parts.scheme}://{host}"


def _build_hash_source(script: bytes) -> str:
    """Return the hash by which a policy allows an inline script, such as `'sha256-qznLc...'`."""
    digest = sha256(script).digest()
    return f"'sha256-{b64encode(digest).decode()}'"
