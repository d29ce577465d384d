"""Swagger UI at `/docs`, served by this application under a Content-Security-Policy."""

from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from app.core.http._accept import HTML_MEDIA_TYPE
from app.core.http._bodies import JSON_MEDIA_TYPE
from app.core.http._cacheable_page import CacheablePage
from app.core.http._guard import guard_added_routes
from app.core.http._html_pages import ICON_PATH, build_html_document
from app.settings import Settings

OPENAPI_PATH: Final = "/openapi.json"
# The path of the JavaScript and CSS of Swagger UI, and of our additions to them.
STATIC_PATH: Final = "/static-offline-docs"
# The packages that contain these files, and the folder in each of them.
_STATIC_PACKAGES: Final = (("fastapi_offline", "static"), ("app.core.http", "static"))


def add_documentation(app: FastAPI, settings: Settings) -> None:
    """Add the public pages of the API documentation to an application.

    These are Swagger UI at `/docs` with its static files, and the OpenAPI document at
    `/openapi.json`.
    """
    html = _build_swagger_page(app.title, settings.root_path).encode()
    headers = {"Content-Security-Policy": _build_content_security_policy(settings)}
    documentation = CacheablePage(html, HTML_MEDIA_TYPE, headers)

    async def show_swagger_ui(request: Request) -> Response:
        return documentation.respond(request)

    with guard_added_routes(app, "public"):
        _add_openapi_document(app)
        app.mount(STATIC_PATH, _RevalidatedFiles(packages=list(_STATIC_PACKAGES)))
        app.add_api_route("/docs", show_swagger_ui, include_in_schema=False)


def _build_swagger_page(title: str, root_path: str) -> str:
    """Return the HTML page in which `documentation.js` starts Swagger UI.

    FastAPI's own page starts it with an inline script, in which it cannot have plugins.
    """
    static_url = root_path + STATIC_PATH
    return build_html_document(
        title,
        icon_url=root_path + ICON_PATH,
        head=f"""\
<link rel="stylesheet" href="{static_url}/swagger-ui.css">
<link rel="stylesheet" href="{static_url}/documentation.css">""",
        body=f"""\
<div id="swagger-ui" data-openapi-url="{root_path}{OPENAPI_PATH}"></div>
<script src="{static_url}/swagger-ui-bundle.js"></script>
<script src="{static_url}/documentation_access.js"></script>
<script src="{static_url}/documentation.js"></script>""",
    )


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


class _RevalidatedFiles(StaticFiles):
    """Static files with an ETag, with which browsers ask at each use whether a file has changed.

    A new version of the service has other files at the same paths, which must not be mixed with
    stored files of the previous version.
    """

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return the response with a file, or a 304 response, for the arguments of Starlette."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _build_content_security_policy(settings: Settings) -> str:
    """Return the Content-Security-Policy header of the Swagger UI page.

    It allows the page to load files from this service, and to send requests to this service and the
    object store (S3). Swagger UI needs the object store because downloads of documents redirect to
    it.
    """
    return (
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
        "script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src 'self' {_get_object_store_sources(settings)}"
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
