"""Content negotiation: the media type in which the client prefers a list (RFC 9110, 12.5.1)."""

import re
from functools import lru_cache
from typing import Final

from fastapi import Request

from app.core.formats import Format
from app.core.http._bodies import JSON_MEDIA_TYPE
from app.core.http._conditional import MAX_HEADER_LENGTH

# The media types in which a whole list can be streamed.
STREAM_FORMATS: Final[dict[str, Format]] = {"application/x-ndjson": "jsonl", "text/csv": "csv"}
# The value of `q`: 0 to 1, with at most three decimal places.
_QUALITY_PATTERN: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def preferred_stream_type(request: Request) -> str | None:
    """Return the media type in which to stream a list, or None if the client prefers a JSON page.

    For example, `Accept: text/csv, application/json;q=0.5` prefers a stream of `text/csv`.
    """
    accept = ",".join(request.headers.getlist("accept"))
    if len(accept) > MAX_HEADER_LENGTH:
        # Ignoring long headers limits the memory of the cache.
        return None
    return _find_preferred_stream_type(accept)


@lru_cache(maxsize=256)
def _find_preferred_stream_type(accept: str) -> str | None:
    """Return the preferred media type of a stream, or None. `accept` is the value of the header."""
    qualities = dict(_parse_media_range(media_range) for media_range in accept.lower().split(","))
    preferred_type = JSON_MEDIA_TYPE
    for media_type in STREAM_FORMATS:
        # If the client likes both equally, JSON wins.
        if _quality_of(media_type, qualities) > _quality_of(preferred_type, qualities):
            preferred_type = media_type
    if preferred_type == JSON_MEDIA_TYPE:
        return None
    return preferred_type


def _parse_media_range(media_range: str) -> tuple[str, float]:
    """Return a media range and its quality, for example `("text/*", 0.5)` for `text/*;q=0.5`.

    The quality is 1 by default, and 0, which means "not acceptable", if it is malformed.
    """
    media_type, *parameters = [part.strip() for part in media_range.split(";")]
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            quality = float(value) if _QUALITY_PATTERN.fullmatch(value) else 0.0
            return media_type, quality
    return media_type, 1.0


def _quality_of(media_type: str, qualities: dict[str, float]) -> float:
    """Return the quality of a media type: that of the most specific media range that contains it.

    For example, `{"text/*": 0.5, "*/*": 0.1}` gives `text/csv` the quality 0.5.
    """
    group = media_type.partition("/")[0]
    for media_range in (media_type, f"{group}/*", "*/*"):
        if media_range in qualities:
            return qualities[media_range]
    return 0.0
