"""The network of a client, by which limits recognize callers who have no token."""

from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

# The number of bits that the IPv6 addresses of a site have in common, for example those of a
# household or a rented server.
IPV6_PREFIX_LENGTH: Final = 56


def determine_client_network(client_address: str) -> str:
    """Return the network for which the requests of a client are counted.

    A provider often gives a site a whole /56 network of IPv6, so that one client could use another
    address for every request. Therefore, all addresses of the network are counted together.
    Examples:

        client_address    result
        2001:db8::1       2001:db8::/56
        192.0.2.1         192.0.2.1
        ::ffff:192.0.2.1  192.0.2.1
    """
    try:
        ip = ip_address(client_address)
    except ValueError:
        # This is not an IP address, for example because the client uses a Unix socket.
        return client_address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    network = IPv6Network((ip, IPV6_PREFIX_LENGTH), strict=False)
    return str(network)
