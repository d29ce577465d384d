"""Decode text in the charset that a client has declared, in a field or a filename of a form."""

from typing import Final

# The labels of the charsets that forms may use, in lower case. A label that is not in this list
# never reaches Python's codecs, because some of them are not charsets (`zip`, `rot13`), and because
# Python keeps every unknown label in memory.
_CHARSETS: Final = frozenset(
    (
        *("utf-8", "utf8", "us-ascii", "ascii", "utf-16", "utf-16le", "utf-16be"),
        *("latin1", "koi8-r", "koi8-u", "shift_jis", "euc-jp", "iso-2022-jp"),
        *("gb2312", "gbk", "gb18030", "big5", "euc-kr"),
        # ISO-8859-12 does not exist.
        *(f"iso-8859-{number}" for number in (*range(1, 12), *range(13, 17))),
        *(f"windows-{number}" for number in range(1250, 1259)),
        *(f"cp{number}" for number in range(1250, 1259)),
    )
)


def is_known_charset(charset: str) -> bool:
    """Return whether `decode_text` knows a charset, for example `ISO-8859-1`."""
    return charset.lower() in _CHARSETS


def decode_text(content: bytes | bytearray, charset: str) -> str:
    """Decode text in a known charset. The result has at most one character per byte.

    Raises `UnicodeDecodeError` if the text is not valid in this charset, and `LookupError` if the
    charset is unknown.
    """
    if not is_known_charset(charset):
        raise LookupError("Unknown charset")
    return content.decode(charset)
