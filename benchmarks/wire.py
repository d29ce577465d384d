"""Encodes HTTP requests as bytes."""


def encode_request(
    method_and_target: str, body: bytes | None = None, content_type: str = "application/json"
) -> bytes:
    """Return an HTTP/1.1 request, for example of `GET /books?size=20`."""
    head = [f"{method_and_target} HTTP/1.1", "Host: localhost", "Accept: application/json"]
    if body is not None:
        head += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + (body or b"")


def add_token(request: bytes, token: str) -> bytes:
    """Return a request with an access token, or the same request if the token is empty."""
    if not token:
        return request
    head, blank_line, body = request.partition(b"\r\n\r\n")
    return head + f"\r\nAuthorization: Bearer {token}".encode() + blank_line + body
