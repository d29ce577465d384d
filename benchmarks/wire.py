"""Requests as the bytes that go over the wire."""


def encode_request(line: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
    """A complete HTTP/1.1 request; `line` is its method and target."""
    head = [f"{line} HTTP/1.1", "Host: localhost", "Accept: application/json"]
    if body is not None:
        head += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + (body or b"")
