"""The id of the current request. Log lines, spans, responses and problems contain it."""

import os
from contextvars import ContextVar
from random import Random
from typing import Final

# "-" outside of a request, for example in a job.
current_request_id: Final[ContextVar[str]] = ContextVar("request_id", default="-")
# A generator that the operating system seeds when the process starts. Request ids have to be unique
# but not secret, so this suffices. Unlike `secrets`, it needs no system call for each id.
_random: Final = Random()  # noqa: S311
# Otherwise, all processes of a server would generate the same ids.
os.register_at_fork(after_in_child=_random.seed)


def new_request_id() -> str:
    """Return a random request id of 32 hexadecimal digits (128 bits)."""
    return f"{_random.getrandbits(128):032x}"
