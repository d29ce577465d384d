"""Sizes of bodies and files as texts for people."""

from typing import Final

# The units of sizes, from the largest one.
_SIZE_UNITS: Final = {"GiB": 1024**3, "MiB": 1024**2, "KiB": 1024}


def format_size(size: int) -> str:
    """Return a number of bytes as a text, for example "64 KiB", "5 GiB" or "1000 bytes"."""
    for unit, unit_size in _SIZE_UNITS.items():
        if size >= unit_size and size % unit_size == 0:
            return f"{size // unit_size} {unit}"
    return f"{size} bytes"
