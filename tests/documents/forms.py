"""Forms that arrive while a test does something else between two of their chunks."""

from collections.abc import AsyncIterator
from typing import Any

from app.documents.upload import PART_SIZE

HEADERS = {"content-type": "multipart/form-data; boundary=b"}
SMALL, LARGE = 100_000, PART_SIZE + 1  # bytes of each chunk of the file
_HEAD = (
    b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nThesis\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="thesis.pdf"\r\n'
    b"Content-Type: application/pdf\r\n\r\n"
)
_TAIL = b"\r\n--b--\r\n"


async def form(size: int, *between: Any) -> AsyncIterator[bytes]:
    """The form of a document with a file of chunks of this size, with these calls between them."""
    chunk = b"x" * size
    yield _HEAD + chunk
    for happens in between:
        await happens()
        yield chunk
    yield _TAIL
