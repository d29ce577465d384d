"""Multipart forms written byte by byte, and files as anybody with their URL gets them."""

from collections.abc import AsyncIterator

from httpx import AsyncClient, Response

BOUNDARY = "a-boundary"
FORM_HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def form_part(*headers: str | bytes, content: bytes = b"") -> bytes:
    lines = [line.encode() if isinstance(line, str) else line for line in headers]
    return b"\r\n".join([f"--{BOUNDARY}".encode(), *lines, b"", content, b""])


def form_field(name: str, value: str | bytes) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    return form_part(f'Content-Disposition: form-data; name="{name}"', content=content)


def form_file(
    content: bytes,
    filename: str | bytes = "thesis.pdf",
    content_type: str = "application/pdf",
    *,
    name: str = "file",
) -> bytes:
    """A file; the filename goes between its quotes as it is."""
    named = filename.encode() if isinstance(filename, str) else filename
    disposition = f'Content-Disposition: form-data; name="{name}"; filename="'.encode()
    return form_part(disposition + named + b'"', f"Content-Type: {content_type}", content=content)


def form_body(*parts: bytes) -> bytes:
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


async def send_form(client: AsyncClient, method: str, path: str, *parts: bytes) -> Response:
    return await client.request(method, path, content=form_body(*parts), headers=FORM_HEADERS)


async def stream_chunks(*parts: bytes) -> AsyncIterator[bytes]:
    """A body without a Content-Length."""
    for chunk in parts:
        yield chunk


async def download(url: str) -> Response:
    """What somebody gets who has nothing but the URL."""
    async with AsyncClient(trust_env=False) as anybody:
        return await anybody.get(url)
