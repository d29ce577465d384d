"""Multipart forms built from bytes, so that tests can send invalid ones."""

from collections.abc import AsyncIterator

from httpx import AsyncClient, Response

BOUNDARY = "a-boundary"
FORM_HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def form_part(*headers: str | bytes, content: bytes = b"") -> bytes:
    """Return one part of a form: the boundary, the header lines, an empty line and the content."""
    header_lines = [line.encode() if isinstance(line, str) else line for line in headers]
    return b"\r\n".join([f"--{BOUNDARY}".encode(), *header_lines, b"", content, b""])


def form_field(name: str, value: str | bytes) -> bytes:
    """Return the part of a form with the value of a text field."""
    content = value.encode() if isinstance(value, str) else value
    return form_part(f'Content-Disposition: form-data; name="{name}"', content=content)


def form_file(
    content: bytes,
    filename: str | bytes = "thesis.pdf",
    content_type: str = "application/pdf",
    *,
    name: str = "file",
) -> bytes:
    """Return the part of a form with a file.

    `name` is the name of the field. The filename is inserted between quotes without escaping.
    """
    filename_bytes = filename.encode() if isinstance(filename, str) else filename
    disposition = f'Content-Disposition: form-data; name="{name}"; filename="'.encode()
    return form_part(
        disposition + filename_bytes + b'"', f"Content-Type: {content_type}", content=content
    )


def form_body(*parts: bytes) -> bytes:
    """Return the body of a form: its parts and the closing boundary."""
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


async def send_form(client: AsyncClient, method: str, path: str, *parts: bytes) -> Response:
    """Send a form with these parts, for example `send_form(client, "POST", "/documents", ...)`."""
    return await client.request(method, path, content=form_body(*parts), headers=FORM_HEADERS)


async def stream_chunks(*chunks: bytes) -> AsyncIterator[bytes]:
    """Yield the chunks of a request body, which is then sent without a Content-Length."""
    for chunk in chunks:
        yield chunk


async def download(url: str) -> Response:
    """Get a presigned URL with a client that sends no credentials."""
    async with AsyncClient(trust_env=False) as client:
        return await client.get(url)
