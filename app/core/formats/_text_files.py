"""Decode a file of an unknown encoding, and find the bytes that do not belong to the encoding."""

import codecs
import io
import re
from typing import Any, BinaryIO, Final, NamedTuple, TextIO

from app.core.formats._file_signatures import SIGNATURE_LENGTH, describe_file_without_text

# Byte order marks. The mark of UTF-32 LE begins with that of UTF-16 LE, so it is compared first.
_BYTE_ORDER_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DEFAULT_ENCODING: Final = "utf-8"
_CHUNK_SIZE: Final = 8192  # bytes
# In UTF-16, one byte of each ASCII character is zero. Text is read as UTF-16 if at least this part
# of its characters is ASCII, such as the names of columns.
_MIN_ASCII_PART: Final = 0.2
_ENCODING_ADVICE: Final = (
    "pass the encoding of the file, for example --encoding cp1252 (Windows, western languages)"
)
_ERROR_HANDLER: Final = "mark_undecodable_bytes"
# Each byte that cannot be decoded becomes the character U+DC00 plus the byte. Decoded text contains
# no such character otherwise, because it is half of a surrogate pair.
_FIRST_MARK: Final = 0xDC00
_MARK: Final = re.compile("[\udc00-\udcff]")


class TextFile(NamedTuple):
    """The text of a file, and the name of the codec that decodes it, for example `utf-8`."""

    text: TextIO
    encoding: str

    def describe_undecodable_byte(self, line: str) -> str | None:
        """Return a message about the first byte of a line that could not be decoded.

        Example: "byte 7 is 0xE9, which is not valid UTF-8". Returns None if the whole line
        could be decoded.
        """
        # Python knows whether a text is ASCII, so that the search is skipped for most lines.
        mark = None if line.isascii() else _MARK.search(line)
        if mark is None:
            return None
        byte = ord(mark[0]) - _FIRST_MARK
        # `utf-16` encodes even an empty text as a byte order mark.
        bytes_before = line[: mark.start()].encode(self.encoding, errors="replace")
        position = len(bytes_before) - len("".encode(self.encoding)) + 1
        message = f"byte {position} is 0x{byte:02X}, which is not valid {self.encoding.upper()}"
        if self.encoding == _DEFAULT_ENCODING:
            return f"{message}: {_ENCODING_ADVICE}"
        return f"{message}: pass the encoding of the file with --encoding"


def open_text(
    file: BinaryIO, encoding: str | None, *, translate_line_ends: bool = False
) -> TextFile:
    """Return the text of a file that is open for reading, without its byte order mark.

    CR, LF and CR LF end a line. `translate_line_ends` makes all of them LF.

    A byte order mark takes precedence over `encoding`, because it is certain. Without both, UTF-16
    is recognized by its zero bytes.

    Raises `ValueError` if the file is not text, for example an Excel workbook.
    """
    first_bytes = _read_first_bytes(file)
    problem = describe_file_without_text(first_bytes)
    if problem is not None:
        raise ValueError(problem)

    mark, marked_encoding = _find_byte_order_mark(first_bytes)
    chosen_encoding = marked_encoding or encoding or _guess_encoding(first_bytes)
    if codecs.lookup(chosen_encoding).name == "utf-16":
        # This codec refuses files without a byte order mark. Most of them are little endian.
        chosen_encoding = _guess_encoding(first_bytes, default="utf-16-le")
    raw_file = _FileWithFirstBytes(first_bytes.removeprefix(mark), file)
    buffer = io.BufferedReader(raw_file, _CHUNK_SIZE)
    newline = None if translate_line_ends else ""
    text = io.TextIOWrapper(buffer, chosen_encoding, errors=_ERROR_HANDLER, newline=newline)
    return TextFile(text, chosen_encoding)


def _read_first_bytes(file: BinaryIO) -> bytes:
    """Read what is available of a file, but at least enough to recognize the kind of file."""
    first_bytes = b""
    while len(first_bytes) < SIGNATURE_LENGTH:
        chunk = _read_available(file, _CHUNK_SIZE)
        if not chunk:
            break
        first_bytes += chunk
    return first_bytes


def _find_byte_order_mark(first_bytes: bytes) -> tuple[bytes, str | None]:
    """Return the byte order mark with which a file begins, and its encoding.

    Returns an empty mark and None if the file begins with text.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if first_bytes.startswith(mark):
            return mark, encoding
    return b"", None


def _guess_encoding(first_bytes: bytes, default: str = _DEFAULT_ENCODING) -> str:
    """Return the encoding of a file without a byte order mark: UTF-16 or the default.

    For example, the bytes `a\\0,\\0` are text in UTF-16 LE, and `\\0a\\0,` in UTF-16 BE.
    """
    min_zeros = max(len(first_bytes) // 2 * _MIN_ASCII_PART, 1)
    zeros_at_first_bytes = first_bytes[0::2].count(0)
    zeros_at_second_bytes = first_bytes[1::2].count(0)
    if zeros_at_second_bytes >= max(min_zeros, 5 * zeros_at_first_bytes):
        return "utf-16-le"
    if zeros_at_first_bytes >= max(min_zeros, 5 * zeros_at_second_bytes):
        return "utf-16-be"
    return default


class _FileWithFirstBytes(io.RawIOBase):
    """A file whose first bytes have been read already, and are read again."""

    def __init__(self, first_bytes: bytes, file: BinaryIO) -> None:
        self._first_bytes = first_bytes
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Copy the next bytes to a buffer. Return their number, which is 0 at the end."""
        size = len(buffer)
        if self._first_bytes:
            chunk = self._first_bytes[:size]
            self._first_bytes = self._first_bytes[size:]
        else:
            chunk = _read_available(self._file, size)
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _read_available(file: BinaryIO, size: int) -> bytes:
    """Read at most `size` bytes. Wait only if a pipe is empty, and return b"" at the end."""
    # All buffered binary files have the method, although the type `BinaryIO` does not.
    chunk: bytes = file.read1(size)  # type: ignore[attr-defined]
    return chunk


def _mark_undecodable_bytes(error: UnicodeError) -> tuple[str, int]:
    """Replace bytes that cannot be decoded by marks, from which the bytes can be recovered.

    Python's handler `surrogateescape` does the same, but not for encodings such as UTF-16.
    """
    if not isinstance(error, UnicodeDecodeError):
        raise error
    undecodable_bytes = error.object[error.start : error.end]
    marks = "".join(chr(_FIRST_MARK + byte) for byte in undecodable_bytes)
    return marks, error.end


codecs.register_error(_ERROR_HANDLER, _mark_undecodable_bytes)
