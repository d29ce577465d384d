"""The minimum rate at which a client has to send a body or read a response."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MinimumRate:
    """The rate that a client has to reach on average, and how long it may wait at most.

    Args:
        bytes_per_second: The rate.
        grace_seconds: How long a client may send or read nothing, for example in a tunnel.
    """

    bytes_per_second: float
    grace_seconds: float


class TransferClock:
    """Measures the time for which one transfer waits for its client, such as an upload.

    The client has an allowance of waiting time. It begins with the grace period. Waiting uses it
    up, and each byte adds the time that the byte takes at the minimum rate. The allowance is never
    longer than the grace period, so that a fast beginning does not pay for hours of waiting.
    Example with 8 KiB per second and a grace period of 30 seconds:

        rate of the client                   the transfer ends
        8 KiB/s or more                      never
        4 KiB/s                              after 60 s
        64 KiB after each pause of 29 s      after 38 s, in the second pause
        nothing                              after 30 s

    Time for which the transfer does not wait for its client is not recorded, for example while the
    object store is slow.
    """

    def __init__(self, minimum_rate: MinimumRate) -> None:
        self._minimum_rate = minimum_rate
        # The transfer has failed if it waits longer than this for its client.
        self.remaining_seconds = minimum_rate.grace_seconds

    def record(self, waited_seconds: float, size: int) -> None:
        """Record that the transfer has waited for its client, which has then sent or read bytes."""
        earned_seconds = size / self._minimum_rate.bytes_per_second
        remaining_seconds = self.remaining_seconds - waited_seconds + earned_seconds
        self.remaining_seconds = min(remaining_seconds, self._minimum_rate.grace_seconds)

    @property
    def has_run_out(self) -> bool:
        """True if the client has been slower than the minimum rate for too long."""
        return self.remaining_seconds <= 0
