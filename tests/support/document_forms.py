"""Document forms that are sent chunk by chunk while a test acts between two chunks."""

from collections.abc import AsyncIterator
from typing import Any

from app.documents.upload import PART_SIZE
from tests.support.multipart import form_body, form_field, form_file

# Sizes of the chunks of a file, in bytes. A file of small chunks is stored with a single PUT. Each
# large chunk fills a part of a multipart upload.
SMALL_CHUNK = 100_000
LARGE_CHUNK = PART_SIZE + 1
# The field `name`, and the headers of the field `file`. The content of the file follows.
START_OF_FORM = form_field("name", "Thesis") + form_file(b"").removesuffix(b"\r\n")
END_OF_FORM = b"\r\n" + form_body()


async def stream_document_form(chunk_size: int, *actions: Any) -> AsyncIterator[bytes]:
    """Yield a form with the name "Thesis" and a file.

    The file has one chunk of `chunk_size` bytes, and one more after each action. An action is an
    async function without arguments.
    """
    chunk = b"x" * chunk_size
    yield START_OF_FORM + chunk
    for action in actions:
        await action()
        yield chunk
    yield END_OF_FORM
