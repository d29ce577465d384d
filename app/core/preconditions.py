"""The precondition of a write: which versions of a row it may replace."""

from dataclasses import dataclass
from typing import Final, Literal

from app.core.errors import PreconditionFailed

# How a write compares the version of its row with the versions of its precondition.
VersionCheck = Literal["unchecked", "is one of", "is none of"]


@dataclass(frozen=True, slots=True)
class Precondition:
    """The versions of a row that a write may replace.

    For example, `Precondition("is one of", ["4.2"])` allows only the version "4.2". Clients state a
    precondition in the headers If-Match and If-None-Match (RFC 9110, section 13).

    Args:
        version_check: How to compare the version of the row with `versions`. "unchecked" allows
            every version.
        versions: The versions in the headers, without quotes.
        failure_detail: Explains to the client why the write is refused. The default is the
            explanation of `PreconditionFailed`.
    """

    version_check: VersionCheck
    versions: list[str]
    failure_detail: str | None = None

    def require(self, version: str) -> None:
        """Raise `PreconditionFailed` unless a write may replace this version."""
        is_listed = version in self.versions
        if self.version_check == "is one of" and not is_listed:
            raise self.create_error()
        if self.version_check == "is none of" and is_listed:
            raise self.create_error()

    def create_error(self) -> PreconditionFailed:
        """Return the error for a row whose version the write may not replace."""
        return PreconditionFailed(self.failure_detail)


ANY_VERSION: Final = Precondition("unchecked", [])
