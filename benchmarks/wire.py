"""Encodes HTTP requests as bytes."""


def encode_request(
    method_and_target: str, body: bytes | None = None, content_type: str = "application/json"
) -> bytes:
    """Return an HTTP/1.1 request, for example of `GET /books?size=20`."""
    head = [f"{method_and_target} HTTP/1.1", "Host: localhost", "Accept: application/json"]
    if body is not None:
        head += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + (body or b"")
