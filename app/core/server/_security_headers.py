"""Headers that tell browsers how to treat the responses of this service."""

from typing import Final

# A response is never a page, except for /docs, which sets a policy of its own.
SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_ENCODED: Final = {
    name.lower().encode(): value.encode() for name, value in SECURITY_HEADERS.items()
}


def add_security_headers(headers: list[tuple[bytes, bytes]]) -> None:
    """Add the security headers, except for those that the response sets itself."""
    missing = _ENCODED
    for name, _ in headers:
        if name in _ENCODED:
            missing = {key: value for key, value in missing.items() if key != name}
    headers += missing.items()
