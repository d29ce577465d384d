"""The headers of a 415 response, which tell the client what body the operation accepts."""

from fastapi import Request

from app.core.errors import UnsupportedContentEncoding, UnsupportedMediaType


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
