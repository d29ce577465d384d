"""The network of a client, by which limits recognize callers who have no token."""

from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

# Bits of an IPv6 address. A client usually has a whole /64 network. A site, for example a household
# or a rented server, often gets a /56 network, which contains 256 of them.
IPV6_CLIENT_PREFIX_LENGTH: Final = 64
IPV6_SITE_PREFIX_LENGTH: Final = 56


def determine_client_network(
    client_address: str | None, ipv6_prefix_length: int = IPV6_CLIENT_PREFIX_LENGTH
) -> str | None:
    """Return the network for which the requests of a client are counted.

    An IPv6 client usually has a whole /64 network, so it could use another address for every
    request. Therefore, the requests of all addresses of the network are counted together. Examples
    for /64 networks:

        client_address    result
        2001:db8::1       2001:db8::/64
        192.0.2.1         192.0.2.1
        ::ffff:192.0.2.1  192.0.2.1
        None              None
    """
    if client_address is None:
        return None
    try:
        ip = ip_address(client_address)
    except ValueError:
        # This is not an IP address, for example because the client uses a Unix socket.
        return client_address
    if not isinstance(ip, IPv6Address):
        return str(ip)
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    network = IPv6Network((ip, ipv6_prefix_length), strict=False)
    return str(network)
