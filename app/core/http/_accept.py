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
    """Return the media type in which the client wants a whole list to be streamed.

    For example, a client that sends `Accept: text/csv, application/json;q=0.5` wants `text/csv`.
    Returns None if the client prefers JSON. It then gets one page of the list.
    """
    accept_header = ",".join(request.headers.getlist("accept"))
    if len(accept_header) > MAX_HEADER_LENGTH:
        # Ignore long headers, because the result for each header is cached.
        return None
    return _find_preferred_stream_type(accept_header)


@lru_cache(maxsize=256)
def _find_preferred_stream_type(accept_header: str) -> str | None:
    """Return the stream format that an Accept header prefers to JSON, for example `text/csv`.

    Returns None if the header does not prefer a stream format to JSON.
    """
    media_ranges = accept_header.lower().split(",")
    quality_by_range = dict(_parse_media_range(media_range) for media_range in media_ranges)

    preferred_type = JSON_MEDIA_TYPE
    highest_quality = _find_quality(JSON_MEDIA_TYPE, quality_by_range)
    for stream_type in STREAM_FORMATS:
        quality = _find_quality(stream_type, quality_by_range)
        if quality > highest_quality:
            preferred_type = stream_type
            highest_quality = quality

    if preferred_type == JSON_MEDIA_TYPE:
        return None
    return preferred_type


def _parse_media_range(media_range: str) -> tuple[str, float]:
    """Split an item of an Accept header into its media type and its quality.

    For example, `text/*;q=0.5` gives `("text/*", 0.5)`. The quality is 1 if the item has no `q`.
    A malformed `q` gives the quality 0, which means that the client does not accept the type.
    """
    media_type, *parameters = [part.strip() for part in media_range.split(";")]
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            if _QUALITY_PATTERN.fullmatch(value) is None:
                return media_type, 0.0
            return media_type, float(value)
    return media_type, 1.0


def _find_quality(media_type: str, quality_by_range: dict[str, float]) -> float:
    """Return how much a client wants a media type, from 0 (not acceptable) to 1.

    The most specific media range of the Accept header counts. For example, `text/csv` has the
    quality 0.5 if `quality_by_range` is `{"text/*": 0.5, "*/*": 0.1}`.
    """
    main_type, _, _ = media_type.partition("/")
    for media_range in (media_type, f"{main_type}/*", "*/*"):
        if media_range in quality_by_range:
            return quality_by_range[media_range]
    return 0.0
