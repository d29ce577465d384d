"""Headers that tell browsers how to treat the responses of this service."""

from typing import Final

# Responses are never HTML pages, except for /docs, which sets its own Content-Security-Policy.
SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_ENCODED_HEADERS: Final = {
    name.lower().encode(): value.encode() for name, value in SECURITY_HEADERS.items()
}


def add_security_headers(response_headers: list[tuple[bytes, bytes]]) -> None:
    """Append the security headers that a response does not set itself.

    Header names are lowercase, as ASGI requires, for example `b"referrer-policy"`.
    """
    missing_headers = _ENCODED_HEADERS
    for name, _ in response_headers:
        if name in _ENCODED_HEADERS:
            missing_headers = {
                other: value for other, value in missing_headers.items() if other != name
            }
    response_headers += missing_headers.items()
