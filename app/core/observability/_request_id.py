"""The id of the current request. Log lines, spans, responses and problems contain it."""

from contextvars import ContextVar
from random import Random
from typing import Final

# "-" outside of a request, for example in a job.
current_request_id: Final[ContextVar[str]] = ContextVar("request_id", default="-")
# The operating system seeds this generator when the process starts. It suffices because request ids
# must be unique but are not secret, and it needs no system call for each id.
_random: Final = Random()  # noqa: S311


def new_request_id() -> str:
    """Return a random request id of 32 hexadecimal digits (128 bits)."""
    return f"{_random.getrandbits(128):032x}"
