"""The file formats in which whole lists are streamed. Each has a URL, such as `/books.csv`."""

from dataclasses import dataclass
from typing import Final

from app.core.formats import Format
from app.core.http._stream_queries import CsvStreamQuery, StreamQuery


@dataclass(frozen=True, kw_only=True)
class StreamFormat:
    """A file format, its media type, and what the OpenAPI document says about it."""

    # The end of the URL and of the file name, without the dot.
    extension: str
    # The name in summaries of operations.
    title: str
    # The first sentence of the descriptions of operations.
    description: str
    media_type: str
    writer_format: Format
    # The base class of the query parameters.
    query_base: type[StreamQuery]


STREAM_FORMATS: Final = (
    StreamFormat(
        extension="csv",
        title="CSV",
        description="The file has one line per item, below a line with the names of the columns.",
        media_type="text/csv",
        writer_format="csv",
        query_base=CsvStreamQuery,
    ),
    StreamFormat(
        extension="ndjson",
        title="JSON lines",
        description="The file has one line per item, which is a JSON object.",
        media_type="application/x-ndjson",
        writer_format="jsonl",
        query_base=StreamQuery,
    ),
)
