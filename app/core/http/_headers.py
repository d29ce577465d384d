"""Access to raw headers, which is faster than the classes of Starlette.

Starlette's `request.headers` and `response.headers` compare names without regard to case, and
convert between text and bytes. All raw names are in lower case already, as ASGI requires.
"""

from fastapi import Request, Response


def has_header(request: Request, name: bytes) -> bool:
    """Return whether a request has a header. `name` is in lower case."""
    return any(header_name == name for header_name, _ in request.scope["headers"])


def get_header_lines(request: Request, name: bytes) -> list[str]:
    """Return the values of all headers of a request with this name, which is in lower case."""
    return [
        value.decode("latin-1")
        for header_name, value in request.scope["headers"]
        if header_name == name
    ]


def set_default_header(response: Response, name: bytes, value: bytes) -> None:
    """Add a header to a response, unless it has one of this name, which is in lower case."""
    for header_name, _ in response.raw_headers:
        if header_name == name:
            return
    response.raw_headers.append((name, value))
