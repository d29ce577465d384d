"""Files that are not text, recognized by their first bytes."""

from typing import Final

_SPREADSHEET_ADVICE: Final = "open it in a spreadsheet program and save it as CSV (UTF-8)"
_COMPRESSION_ADVICE: Final = "decompress it first"
# The first bytes, the kind of file, and what to do with it.
_SIGNATURES: Final = (
    (b"PK\x03\x04", "an Excel workbook (.xlsx) or another ZIP archive", _SPREADSHEET_ADVICE),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls)", _SPREADSHEET_ADVICE),
    (b"\x1f\x8b", "compressed with gzip", "decompress it first, for example with gunzip"),
    (b"BZh91AY&SY", "compressed with bzip2", _COMPRESSION_ADVICE),
    (b"\xfd7zXZ", "compressed with xz", _COMPRESSION_ADVICE),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", _COMPRESSION_ADVICE),
    (b"%PDF-", "a PDF document", "ask for the data as CSV or JSON"),
    (b"SQLite format 3\x00", "a SQLite database", "export a table from it as CSV"),
    (b"PAR1\x15", "a Parquet file", "convert it to CSV or JSON lines"),
    (b"<", "HTML or XML", "ask for the data as CSV or JSON"),
)
SIGNATURE_LENGTH: Final = 16  # bytes


def describe_file_without_text(first_bytes: bytes) -> str | None:
    """Return what is wrong with a file that begins with these bytes. Return None if it is text.

    Example: "it is compressed with gzip: decompress it first, for example with gunzip".
    """
    for signature, kind, advice in _SIGNATURES:
        if first_bytes.startswith(signature):
            return f"it is {kind}, not CSV or JSON: {advice}"
    return None
