"""The host names under which the service may be reached, as requests name them in `Host`."""

from collections.abc import Sequence
from typing import Final

from app.core.errors import MalformedRequest
from app.settings import is_loopback_host

_WRONG_HOST_DETAIL: Final = "The request has no Host header that names this service"
_NO_LOOPBACK_HOST_DETAIL: Final = (
    "With ANONYMOUS_ACCESS=full, only loopback host names such as localhost are served. To use"
    " another host name, add it to ALLOWED_HOSTS."
)


class HostPolicy:
    """Decides which host names requests may have.

    If everyone may change everything, a web page must not reach the service under a name of its
    own. Otherwise, the page could change the address of its name to 127.0.0.1 (DNS rebinding). The
    browser of a developer would then take the service for the server of the page, and let the page
    send every request and read every response.
    """

    def __init__(self, allowed_hosts: Sequence[str], *, is_loopback_only_by_default: bool) -> None:
        """Create the policy.

        Args:
            allowed_hosts: Host names that requests may have. "*.example.com" allows all subdomains
                of example.com.
            is_loopback_only_by_default: Whether an empty list allows only names of the same
                machine, such as localhost. Otherwise, it allows every name.
        """
        self._allows_every_host = not allowed_hosts and not is_loopback_only_by_default
        self._allows_loopback_hosts = not allowed_hosts and is_loopback_only_by_default
        self._exact_hosts: set[str] = set()
        # The suffix ".example.com" allows "api.example.com", but not "example.com".
        self._domain_suffixes: tuple[str, ...] = ()
        for host in allowed_hosts:
            if host.startswith("*."):
                self._domain_suffixes += (host.removeprefix("*"),)
            else:
                self._exact_hosts.add(host)

    def find_error(self, host: str) -> MalformedRequest | None:
        """Return the error for a host that requests may not name, otherwise None.

        `host` is in lower case and has no port, for example "api.example.com" or "[::1]".
        """
        if self._allows_every_host:
            return None
        if self._allows_loopback_hosts:
            if is_loopback_host(host):
                return None
            return MalformedRequest(_NO_LOOPBACK_HOST_DETAIL)
        if host in self._exact_hosts or host.endswith(self._domain_suffixes):
            return None
        return MalformedRequest(_WRONG_HOST_DETAIL)
