"""The resource `/`: name, version, links and access of the service, as JSON or as a web page."""

from html import escape
from typing import Any, Final, Literal

from fastapi import Request, Response
from pydantic import BaseModel, Field

from app import TITLE, __version__
from app.core.http._accept import HTML_MEDIA_TYPE, prefers_html
from app.core.http._html_pages import (
    HTML_HEADERS,
    build_html_link,
    build_html_list,
    build_html_page,
)
from app.core.http._resources import http_resources
from app.core.http._root_path import add_root_path
from app.core.http._router import Router
from app.settings import Settings

# The same URL has another representation for another Accept header.
_HEADERS: Final = {"Vary": "Accept"}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {
            HTML_MEDIA_TYPE: {
                "schema": {"type": "string", "maxLength": 10_000},
                "example": f"<!doctype html><title>{TITLE}</title>",
            }
        },
        "headers": {
            "Vary": {
                "description": "The request header that determines the media type",
                "schema": {"type": "string", "maxLength": 100},
            }
        },
    }
}
_ACCESS_DESCRIPTIONS: Final = {
    "none": "Requests need a token, which POST /tokens creates (login).",
    "read": "Anyone may read public data. Other requests need a token, which POST /tokens creates.",
    "full": (
        "Anyone who can connect may read and write everything without a token. Set"
        " ANONYMOUS_ACCESS=read to require tokens."
    ),
}

router = Router(tags=["service"])


class ServiceLinks(BaseModel):
    """The paths of the resources that describe the service. They have the prefix ROOT_PATH."""

    documentation: str | None = Field(
        max_length=200,
        description="The documentation for people, null if it is disabled",
        examples=["/docs"],
    )
    openapi: str | None = Field(
        max_length=200,
        description="The OpenAPI document, null if it is disabled",
        examples=["/openapi.json"],
    )
    liveness: str = Field(max_length=200, description="The liveness probe", examples=["/livez"])
    readiness: str = Field(max_length=200, description="The readiness probe", examples=["/readyz"])


class ServiceInfo(BaseModel):
    """A description of the service, and of who may use it."""

    name: str = Field(max_length=100, examples=[TITLE])
    version: str | None = Field(
        max_length=50,
        description="The version, null if the documentation is disabled",
        examples=[__version__],
    )
    access: Literal["none", "read", "full"] = Field(
        description="What callers without a token may do (`ANONYMOUS_ACCESS`)"
    )
    access_description: str = Field(
        max_length=500, description="The same, for people", examples=[_ACCESS_DESCRIPTIONS["none"]]
    )
    links: ServiceLinks


@router.get("/", permission="public", response_model=ServiceInfo, responses=_RESPONSES)
async def read_service(request: Request, response: Response) -> ServiceInfo | Response:
    """Get the name, version and access of the service.

    The response is a web page if the `Accept` header prefers `text/html` to JSON.
    """
    service = _describe_service(request, http_resources(request).settings)
    if prefers_html(request):
        page = _build_welcome_page(request, service)
        return Response(page, headers=_HEADERS | HTML_HEADERS, media_type=HTML_MEDIA_TYPE)
    response.headers.update(_HEADERS)
    return service


def _describe_service(request: Request, settings: Settings) -> ServiceInfo:
    """Return the description of the service.

    If the operator hides the documentation, it does not contain the version either, from which
    known faults could be looked up.
    """
    documentation = None
    openapi = None
    version = None
    if settings.docs_enabled:
        documentation = add_root_path(request.scope, "/docs")
        openapi = add_root_path(request.scope, "/openapi.json")
        version = __version__
    access = settings.anonymous_access_level
    return ServiceInfo(
        name=TITLE,
        version=version,
        access=access,
        access_description=_ACCESS_DESCRIPTIONS[access],
        links=ServiceLinks(
            documentation=documentation,
            openapi=openapi,
            liveness=add_root_path(request.scope, "/livez"),
            readiness=add_root_path(request.scope, "/readyz"),
        ),
    )


def _build_welcome_page(request: Request, service: ServiceInfo) -> str:
    """Return the description of the service as an HTML page."""
    title = TITLE
    if service.version is not None:
        title += f" {service.version}"
    items = []
    if service.links.documentation is not None:
        items.append(("Documentation", build_html_link(service.links.documentation)))
    if service.links.openapi is not None:
        items.append(("OpenAPI document", build_html_link(service.links.openapi)))
    items.append(("Liveness", build_html_link(service.links.liveness)))
    items.append(("Readiness", build_html_link(service.links.readiness)))
    items.append(("Access", escape(service.access_description)))
    body = f"""\
<h1>{escape(title)}</h1>
<p>This is a web service. Programs that open this address get the same content as JSON.</p>
{build_html_list(items)}"""
    return build_html_page(request, "Web service", body)
