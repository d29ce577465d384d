"""Reading and writing models as text: CSV with a header (RFC 4180), JSON lines, JSON arrays."""

from app.core.formats._file_signatures import SIGNATURE_LENGTH, describe_file_without_text
from app.core.formats._line_validation import ParsedLine
from app.core.formats._read_options import ReadOptions, check_encoding, parse_delimiter
from app.core.formats._readers import parse_lines
from app.core.formats._strict_json import (
    MAX_JSON_DEPTH,
    MAX_JSON_INTEGER_LENGTH,
    MAX_JSON_MEMBERS,
    MAX_JSON_VALUES,
    JsonTooLarge,
    parse_json,
)
from app.core.formats._text_lines import LINE_TOO_LONG, MAX_LINE_LENGTH, InvalidLine
from app.core.formats._writers import CsvStyle, Format, LineWriter, create_writer

__all__ = [
    "LINE_TOO_LONG",
    "MAX_JSON_DEPTH",
    "MAX_JSON_INTEGER_LENGTH",
    "MAX_JSON_MEMBERS",
    "MAX_JSON_VALUES",
    "MAX_LINE_LENGTH",
    "SIGNATURE_LENGTH",
    "CsvStyle",
    "Format",
    "InvalidLine",
    "JsonTooLarge",
    "LineWriter",
    "ParsedLine",
    "ReadOptions",
    "check_encoding",
    "create_writer",
    "describe_file_without_text",
    "parse_delimiter",
    "parse_json",
    "parse_lines",
]
