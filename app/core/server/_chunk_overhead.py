"""The limit on what a chunked request body has in addition to its content."""

from typing import Final

from app.core.errors import MalformedRequest

# A chunked body may have this many bytes of chunk sizes, chunk extensions and trailers, in addition
# to `FREE_BYTES_PER_CHUNK` for each chunk and twice the bytes of the body.
MAX_CHUNK_OVERHEAD_BYTES: Final = 16 * 1024
FREE_BYTES_PER_CHUNK: Final = 16


class ChunkOverhead:
    """Counts the bytes of a request body that are neither content nor free."""

    def __init__(self) -> None:
        self._bytes = 0

    def begin_body(self) -> None:
        """Start to count, because the head of a request has ended."""
        self._bytes = 0

    def add_received(self, size: int) -> None:
        """Count bytes that have arrived, before the parser reads them."""
        self._bytes += size

    def subtract_chunk(self) -> None:
        """Subtract the free bytes of one chunk."""
        self._bytes -= FREE_BYTES_PER_CHUNK

    def subtract_content(self, size: int) -> None:
        """Subtract a part of the content. Twice as many more bytes are free."""
        self._bytes -= 3 * size

    def find_error(self) -> MalformedRequest | None:
        """Return an error if the incomplete body has too many bytes of chunk extensions.

        Return None otherwise. Unused free bytes do not count for later segments.
        """
        self._bytes = max(self._bytes, 0)
        if self._bytes <= MAX_CHUNK_OVERHEAD_BYTES:
            return None
        return MalformedRequest("The chunk extensions or trailers of the body are too large")
