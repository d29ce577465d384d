"""A warning for operators whose reverse proxy is not one of TRUSTED_PROXIES."""

import logging
from collections.abc import Collection, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

# Proxies name the client in one of these headers.
FORWARDED_HEADERS: Final = (b"x-forwarded-for", b"forwarded")
log = logging.getLogger(__name__)


class UntrustedProxyWarning:
    """Logs a warning at the first request that an unknown proxy seems to have forwarded.

    The service ignores the client address that such a proxy names. All clients behind it then share
    the limits of one address, for example that of failed logins.

    A process logs the warning once, because every client can send these headers.
    """

    def __init__(self, trusted_proxies: Collection[IPv4Network | IPv6Network]) -> None:
        """Create the warning. `trusted_proxies` are the networks of TRUSTED_PROXIES."""
        self._trusted_proxies = trusted_proxies
        self._is_logged = False

    def check(self, peer_address: str, header_names: Iterable[bytes]) -> None:
        """Log the warning if a request has a header of a proxy that is not trusted.

        Args:
            peer_address: The address from which the connection comes, for example "10.0.0.7".
            header_names: The names of the request's headers, in lower case.
        """
        if self._is_logged or self._is_trusted(peer_address):
            return
        names = set(header_names)
        for header in FORWARDED_HEADERS:
            if header in names:
                self._is_logged = True
                log.warning(
                    "ignoring the header %s of %s, which is not one of TRUSTED_PROXIES. If it is"
                    " your reverse proxy, add its address. Otherwise, its clients share the limits"
                    " of one address. Further headers are ignored without a warning.",
                    header.decode(),
                    peer_address,
                )
                return

    def _is_trusted(self, peer_address: str) -> bool:
        """Return whether an address is that of a trusted proxy."""
        address = ip_address(peer_address)
        return any(address in network for network in self._trusted_proxies)
