"""Content negotiation (RFC 9110, section 12.5): HTML or JSON, and with or without gzip."""

import re
from functools import lru_cache
from typing import Final

from fastapi import Request

from app.core.http._bodies import JSON_MEDIA_TYPE
from app.core.http._conditional import MAX_HEADER_LENGTH

HTML_MEDIA_TYPE: Final = "text/html"
# The media types of the same content for programs, which often accept any type (`*/*`).
_PROGRAM_MEDIA_TYPES: Final = (JSON_MEDIA_TYPE, "application/problem+json")
# Java's HttpURLConnection adds these headers to requests without one, the second in old versions.
_ACCEPT_HEADERS_OF_JAVA: Final = (
    "text/html, image/gif, image/jpeg, */*; q=0.2",
    "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
)
# The value of `q`: 0 to 1, with at most three decimal places.
_QUALITY_PATTERN: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def prefers_html(request: Request) -> bool:
    """Return whether the client prefers HTML to JSON, as browsers do when they open a URL.

    A browser sends, for example, `Accept: text/html,application/xml;q=0.9,*/*;q=0.8`. Programs and
    the scripts of web pages send `*/*` or JSON, or do not send the header.
    """
    accept_header = ",".join(request.headers.getlist("accept"))
    if accept_header in _ACCEPT_HEADERS_OF_JAVA:
        return False
    if len(accept_header) > MAX_HEADER_LENGTH:
        # Ignore long headers, because the result for each header is cached.
        return False
    return _prefers_html(accept_header)


def accepts_gzip(request: Request) -> bool:
    """Return whether a client accepts gzip, and does not prefer a response without compression.

    For example, `Accept-Encoding: gzip, br` and `*` accept it, but `gzip;q=0` and `br` do not.
    """
    header = ",".join(request.headers.getlist("accept-encoding")).lower()
    quality_by_coding = dict(_parse_item(item) for item in header.split(","))
    gzip_quality = quality_by_coding.get("gzip", quality_by_coding.get("*", 0.0))
    return gzip_quality > 0 and gzip_quality >= quality_by_coding.get("identity", 0.0)


@lru_cache(maxsize=256)
def _prefers_html(accept_header: str) -> bool:
    """Return whether an Accept header gives HTML a higher quality than JSON."""
    media_ranges = accept_header.lower().split(",")
    quality_by_range = dict(_parse_item(media_range) for media_range in media_ranges)
    html_quality = _find_quality(HTML_MEDIA_TYPE, quality_by_range)
    return all(
        html_quality > _find_quality(media_type, quality_by_range)
        for media_type in _PROGRAM_MEDIA_TYPES
    )


def _parse_item(item: str) -> tuple[str, float]:
    """Split an item of an Accept or Accept-Encoding header into its value and its quality.

    For example, `text/*;q=0.5` gives `("text/*", 0.5)`. The quality is 1 if the item has no `q`.
    A malformed `q` gives the quality 0, which means that the client does not accept the value.
    """
    item_value, *parameters = [part.strip() for part in item.split(";")]
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            if _QUALITY_PATTERN.fullmatch(value) is None:
                return item_value, 0.0
            return item_value, float(value)
    return item_value, 1.0


def _find_quality(media_type: str, quality_by_range: dict[str, float]) -> float:
    """Return how much a client wants a media type, from 0 (not acceptable) to 1.

    The most specific media range of the Accept header counts. For example, `text/html` has the
    quality 0.5 if `quality_by_range` is `{"text/*": 0.5, "*/*": 0.1}`.
    """
    main_type, _, _ = media_type.partition("/")
    for media_range in (media_type, f"{main_type}/*", "*/*"):
        if media_range in quality_by_range:
            return quality_by_range[media_range]
    return 0.0
