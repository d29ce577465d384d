"""The file formats in which whole lists are streamed. Each has a URL, such as `/books.csv`."""

from dataclasses import dataclass
from typing import Final

from app.core.formats import Format
from app.core.http._stream_queries import CsvStreamQuery, StreamQuery


@dataclass(frozen=True, kw_only=True)
class StreamFormat:
    """One of these file formats."""

    # The end of the URL and of the file name, without the dot.
    extension: str
    # The name in summaries of operations.
    title: str
    media_type: str
    writer_format: Format
    # The base class of the query parameters.
    query_base: type[StreamQuery]


STREAM_FORMATS: Final = (
    StreamFormat(
        extension="csv",
        title="CSV",
        media_type="text/csv",
        writer_format="csv",
        query_base=CsvStreamQuery,
    ),
    StreamFormat(
        extension="ndjson",
        title="JSON lines",
        media_type="application/x-ndjson",
        writer_format="jsonl",
        query_base=StreamQuery,
    ),
)
