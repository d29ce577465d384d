"""Headers that tell browsers how to treat the responses of this service."""

from typing import Final

# HTML pages set their own Content-Security-Policy. Other responses must not be displayed as one.
SECURITY_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_ENCODED_HEADERS: Final = {
    name.lower().encode(): value.encode() for name, value in SECURITY_HEADERS.items()
}


def add_security_headers(response_headers: list[tuple[bytes, bytes]]) -> None:
    """Append each security header that the endpoint has not set, such as `referrer-policy`.

    `response_headers` are the headers of an ASGI message, such as `(b"vary", b"Accept")`. Their
    names are lowercase.
    """
    existing_names = {name for name, _ in response_headers}
    for name, value in _ENCODED_HEADERS.items():
        if name not in existing_names:
            response_headers.append((name, value))
