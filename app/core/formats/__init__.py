"""Reading and writing models as lines of text: JSON lines, and CSV with a header (RFC 4180)."""

from app.core.formats._readers import ParsedLine, parse_lines
from app.core.formats._strict_json import MAX_JSON_DEPTH, JsonNestedTooDeeply, parse_json
from app.core.formats._text_lines import LINE_TOO_LONG, MAX_LINE_BYTES, InvalidLine
from app.core.formats._writers import Format, LineWriter, create_writer

__all__ = [
    "LINE_TOO_LONG",
    "MAX_JSON_DEPTH",
    "MAX_LINE_BYTES",
    "Format",
    "InvalidLine",
    "JsonNestedTooDeeply",
    "LineWriter",
    "ParsedLine",
    "create_writer",
    "parse_json",
    "parse_lines",
]
