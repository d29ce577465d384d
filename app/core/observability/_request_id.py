"""The id of the current request: it is in the log, in spans, in responses and in problems."""

from contextvars import ContextVar
from random import Random
from typing import Final

current_request_id: Final[ContextVar[str]] = ContextVar("request_id", default="-")
# Seeded by the operating system when the process starts. Ids have to be unique and are not secret,
# so a system call for each of them would be wasted.
_random: Final = Random()  # noqa: S311


def new_request_id() -> str:
    """Return 128 random bits as hexadecimal digits."""
    return f"{_random.getrandbits(128):032x}"
