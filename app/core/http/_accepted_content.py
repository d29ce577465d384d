"""The media types that an operation accepts, and the headers of a 415 response that state them."""

from fastapi import Request, params
from fastapi.routing import APIRoute

from app.core.errors import UnsupportedContentEncoding, UnsupportedMediaType
from app.core.http._bodies import FORM_MEDIA_TYPE, JSON_MEDIA_TYPE, MERGE_PATCH_MEDIA_TYPE


def reads_body_as_stream(route: APIRoute) -> bool:
    """Return whether an endpoint reads its body as a stream, and so documents it by itself."""
    return "requestBody" in (route.openapi_extra or {})


def get_accepted_media_types(route: APIRoute) -> list[str]:
    """Return the media types that an endpoint accepts, for example `["application/json"]`."""
    if reads_body_as_stream(route):
        # The endpoint documents a body such as multipart/form-data.
        documented_body = (route.openapi_extra or {})["requestBody"]
        return list(documented_body["content"])
    if route.body_field is not None and isinstance(route.body_field.field_info, params.Form):
        return [FORM_MEDIA_TYPE]
    if "PATCH" in (route.methods or ()):
        return [JSON_MEDIA_TYPE, MERGE_PATCH_MEDIA_TYPE]
    return [JSON_MEDIA_TYPE]


def build_accept_headers(request: Request, error: UnsupportedMediaType) -> dict[str, str]:
    """Return the headers of the 415 response to a request.

    For example `{"Accept": "application/json"}` for the media type of a POST, or
    `{"Accept-Encoding": "identity"}` for a compressed body (RFC 9110, section 15.5.16). Other
    responses must not have Accept-Encoding. A PATCH also gets Accept-Patch (RFC 5789).
    """
    # A route of a library does not have the attribute `media_types`.
    route = request.scope.get("route")
    media_types = ", ".join(getattr(route, "media_types", ()))
    headers = {}
    if isinstance(error, UnsupportedContentEncoding):
        headers["Accept-Encoding"] = "identity"
    elif media_types:
        headers["Accept"] = media_types
    if request.method == "PATCH" and media_types:
        headers["Accept-Patch"] = media_types
    return headers
