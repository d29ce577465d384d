"""Content negotiation: whether a client accepts a compressed response (RFC 9110, 12.5.3)."""

import re
from typing import Final

from fastapi import Request

# The value of `q`: 0 to 1, with at most three decimal places.
_QUALITY_PATTERN: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


def accepts_gzip(request: Request) -> bool:
    """Return whether a client accepts gzip, and does not prefer a response without compression.

    For example, `Accept-Encoding: gzip, br` and `*` accept it, but `gzip;q=0` and `br` do not.
    """
    header = ",".join(request.headers.getlist("Accept-Encoding")).lower()
    qualities = dict(_parse_item(item) for item in header.split(","))
    gzip_quality = qualities.get("gzip", qualities.get("*", 0.0))
    return gzip_quality > 0 and gzip_quality >= qualities.get("identity", 0.0)


def _parse_item(item: str) -> tuple[str, float]:
    """Split an item of the header into its coding and quality: `gzip;q=0.5` and `("gzip", 0.5)`.

    The quality is 1 if the item has no `q`, and 0 if `q` is malformed.
    """
    coding, _, parameter = item.partition(";")
    name, _, value = parameter.strip().partition("=")
    if name == "":
        return coding.strip(), 1.0
    if name != "q" or _QUALITY_PATTERN.fullmatch(value) is None:
        return coding.strip(), 0.0
    return coding.strip(), float(value)
