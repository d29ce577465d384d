"""Limits of the uploads that a process receives and completes at the same time."""

from typing import Final

from app.core.caller_limits import CallerLimits

# Each upload keeps the part that it is filling in memory. A browser sends six uploads at a time.
MAX_UPLOADS: Final = 32
MAX_UPLOADS_PER_NETWORK: Final = 16
MAX_UPLOADS_PER_USER: Final = 8
# The numbers of requests that complete an upload or wait for their turn. Each user completes one
# upload at a time.
MAX_COMPLETIONS: Final = 128
MAX_COMPLETIONS_PER_NETWORK: Final = 48
MAX_COMPLETIONS_PER_USER: Final = 16


def create_upload_limits() -> CallerLimits:
    """Return the limits of uploads through the service."""
    return CallerLimits(
        "uploads",
        total=MAX_UPLOADS,
        per_network=MAX_UPLOADS_PER_NETWORK,
        per_user=MAX_UPLOADS_PER_USER,
    )


def create_completion_limits() -> CallerLimits:
    """Return the limits of requests that complete a direct upload."""
    return CallerLimits(
        "completions of uploads",
        total=MAX_COMPLETIONS,
        per_network=MAX_COMPLETIONS_PER_NETWORK,
        per_user=MAX_COMPLETIONS_PER_USER,
    )
