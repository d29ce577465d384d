"""Types of settings: comma-separated values, and the parts of URLs, such as host names."""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

T = TypeVar("T")
# The connection pooler in front of Postgres: none, one without prepared statements, or one in
# transaction mode that keeps them.
Pooler = Literal["none", "transaction", "transaction-prepared"]
MAX_PORT: Final = 65535
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
# For example "app.example.com:8443" or "[::1]:8000".
_HOST_AND_PORT: Final = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:(?P<port>[0-9]+))?")
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9.])?")
_PATH_SEGMENT: Final = re.compile(r"[A-Za-z0-9._~-]+")
# Names and addresses that every machine has for itself. Browsers do not ask DNS for them.
_LOOPBACK_HOST: Final = re.compile(r"(.+\.)?localhost|127(\.[0-9]{1,3}){3}|::1|\[::1\]")


def is_loopback_host(host: str) -> bool:
    """Return whether only programs on the same machine reach a server under this name.

    For example, it is true for "localhost", "api.localhost", "127.0.0.1" and "[::1]".
    """
    return _LOOPBACK_HOST.fullmatch(host) is not None


def _require_listen_address(host: str) -> str:
    """Require an IP address or a host name, without a scheme, a port or brackets."""
    try:
        ip_address(host)
    except ValueError:
        if not _HOST_NAME.fullmatch(host):
            raise ValueError(
                "Must be an IP address such as 127.0.0.1, 0.0.0.0 or ::1, or a host name, without a"
                " scheme and a port"
            ) from None
    return host


def _split_at_commas(value: Any) -> Any:
    """Convert a string such as `"a, b"` to a list such as `["a", "b"]`.

    Empty items are dropped. A value that is not a string is returned unchanged.
    """
    if not isinstance(value, str):
        return value
    return [item.strip() for item in value.split(",") if item.strip()]


def _require_canonical_origin(origin: str) -> str:
    """Require an origin exactly as browsers send it in the `Origin` header.

    Any other spelling of the same origin would never match, and browsers would not say why.
    """
    if "*" in origin:
        raise ValueError("Must not contain *. List each origin, such as https://app.example.com")
    scheme, separator, authority = origin.partition("://")
    if not separator or scheme not in _DEFAULT_PORTS:
        raise ValueError(
            "Must begin with http:// or https:// in lower case, as in https://app.example.com"
        )
    if re.search(r"[/?#]", authority):
        raise ValueError(
            "Must end after the host and the port, without a slash, as in https://app.example.com"
        )
    if "@" in authority:
        raise ValueError("Must not contain a user name or password")
    if not authority.isascii():
        raise ValueError(
            "Must be in ASCII: write https://xn--bcher-kva.example for https://bücher.example"
        )
    if authority != authority.lower():
        raise ValueError("Must be in lower case, as in https://app.example.com")
    _require_canonical_host_and_port(scheme, authority)
    return origin


def _require_canonical_host_and_port(scheme: str, authority: str) -> None:
    """Require that the authority of an origin is valid, and spelled as browsers spell it.

    The authority is, for example, "app.example.com:8443".
    """
    match = _HOST_AND_PORT.fullmatch(authority)
    if match is None:
        raise ValueError("Must be like https://app.example.com or http://localhost:5173")
    port = match["port"]
    if port == _DEFAULT_PORTS[scheme]:
        raise ValueError(
            "Must not contain the default port, which browsers leave out: 80 for http, 443 for"
            " https"
        )
    if port is not None and (port.startswith("0") or int(port) > MAX_PORT):
        raise ValueError("Must have a port between 1 and 65535, without leading zeros")
    if not is_canonical_host(match["host"]):
        raise ValueError("Must have the IP address in the usual form, such as 127.0.0.1 or [::1]")


def is_canonical_host(host: str) -> bool:
    """Return whether browsers would spell a host in the same way.

    They replace "[0:0::1]" by "[::1]", and "127.1" by "127.0.0.1". Names are not changed.
    """
    last_label = host.rpartition(".")[2]
    try:
        if host.startswith("["):
            return f"[{IPv6Address(host[1:-1])}]" == host
        # Browsers regard a host as an IPv4 address if its last part is a number.
        if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last_label):
            return str(IPv4Address(host)) == host
    except AddressValueError:
        return False
    return True


def _require_path_prefix(path: str) -> str:
    """Require a path such as "/api" or "/apps/books", or no path at all."""
    if path == "":
        return path
    if path.endswith("/") or not path.startswith("/"):
        raise ValueError("Must begin with a slash and not end with one, as in /api")
    segments = path.removeprefix("/").split("/")
    for segment in segments:
        # Clients resolve dots: they send "/api" for "/books/../api".
        if segment in {".", ".."} or not _PATH_SEGMENT.fullmatch(segment):
            raise ValueError("Must consist of ASCII letters, digits and ._~- between slashes")
    return path


CommaSeparated = Annotated[tuple[T, ...], NoDecode, BeforeValidator(_split_at_commas)]
# For example "https://app.example.com" or "http://localhost:5173".
Origin = Annotated[str, AfterValidator(_require_canonical_origin)]
# For example "api.example.com", "*.example.com" or "[::1]".
HostPattern = Annotated[str, Field(pattern=r"^(\*\.)?[a-z0-9._-]+$|^\[[0-9a-f:.]+\]$")]
# For example "127.0.0.1", "::" or "localhost".
ListenAddress = Annotated[str, AfterValidator(_require_listen_address)]
# For example "/api" or "/apps/books".
PathPrefix = Annotated[str, AfterValidator(_require_path_prefix)]
