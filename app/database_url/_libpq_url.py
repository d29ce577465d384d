"""Parses database URLs as libpq does, the client library of Postgres that psql uses.

    postgresql://ada:secret@db1,db2:5433/books?sslmode=require

consists of the parameters `user`, `password`, `host` ("db1,db2"), `port` (",5433"), `dbname` and
`sslmode`. The query may contain every parameter, and then takes precedence. See
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
"""

import re
from typing import Final
from urllib.parse import unquote

DEFAULT_PORT: Final = 5432
_MAX_PORT: Final = 65535
_PERCENT_CODE: Final = "%[0-9A-Fa-f]{2}"  # for example "%40"
# A part of a URL, such as the user, without characters that would end the part. A password may also
# contain colons. Each character matches in only one way. Otherwise, rejecting a long password would
# take hours.
_TEXT: Final = rf"(?:[^\s@:/?#\[\]%]|{_PERCENT_CODE})*"
_PASSWORD: Final = rf"(?:[^\s@/?#\[\]%]|{_PERCENT_CODE})*"
# For example "db.example", "[::1]", "[fe80::1%25eth0]", or "%2Fvar%2Frun" for the directory of a
# socket.
_HOST: Final = (
    r"(?:\[[0-9A-Fa-f:.]+(?:%25[\w.-]+)?\]"
    rf"|(?:[^\s@:/?#\[\],%]|{_PERCENT_CODE})*)"
)
_HOST_AND_PORT: Final = rf"{_HOST}(?::[0-9]*)?"
_VALUE: Final = rf"(?:[^@#&=%\n]|{_PERCENT_CODE})*"
_PARAMETER: Final = rf"{_VALUE}={_VALUE}"
_URL_PATTERN: Final = re.compile(
    rf"postgres(?:ql)?(?:\+\w+)?://"
    rf"(?:(?P<user>{_TEXT})(?::(?P<password>{_PASSWORD}))?@)?"
    rf"(?P<hosts>{_HOST_AND_PORT}(?:,{_HOST_AND_PORT})*)"
    rf"(?:/(?P<dbname>{_TEXT}))?"
    rf"(?:\?(?P<query>(?:{_PARAMETER}(?:&{_PARAMETER})*)?))?"
)
# SQLAlchemy writes each of several hosts as a parameter of its own, for example "host=db1:5432".
_HOST_PARAMETER_WITH_PORT: Final = re.compile(r"([^\[\]:/,]+):([0-9]+)")


def parse_libpq_url(url_text: str) -> dict[str, str] | None:
    """Return the parameters of a URL by their libpq names, or None if it is not a valid URL.

    The names and values in the query are not checked. They may be unknown, invalid or empty.
    """
    match = _URL_PATTERN.fullmatch(url_text)
    if match is None:
        return None
    host_list, port_list = _split_host_list(match["hosts"])
    encoded_parts = {
        "user": match["user"],
        "password": match["password"],
        "host": host_list,
        "port": port_list,
        "dbname": match["dbname"],
    }
    try:
        parts = {name: _decode(value) for name, value in encoded_parts.items() if value}
        return {**parts, **_parse_query(match["query"] or "")}
    except ValueError:
        return None


def split_hosts_and_ports(host_list: str, port_list: str) -> list[tuple[str, int]]:
    """Return the host and the port of each server, for example `[("db1", 5432), ("db2", 5433)]`.

    Raises `ValueError` if a host is empty, a port is invalid, or their numbers differ.

    Args:
        host_list: One host or several, for example "db1,db2".
        port_list: A port for each host, or one for all of them. An empty one is the default port,
            for example ",5433".
    """
    hosts = host_list.split(",")
    if not all(hosts):
        raise ValueError("Must not have an empty host in the list of hosts")
    ports = [int(port or DEFAULT_PORT) for port in port_list.split(",")]
    if not all(0 < port <= _MAX_PORT for port in ports):
        raise ValueError(f"Must have ports from 1 to {_MAX_PORT}")
    if len(ports) == 1:
        ports = ports * len(hosts)
    if len(ports) != len(hosts):
        raise ValueError("Must name one port for each host, one for all of them or none")
    return list(zip(hosts, ports, strict=True))


def _split_host_list(hosts_and_ports: str) -> tuple[str, str]:
    """Return the hosts and the ports of a URL as libpq writes them in parameters.

    For example, `db1,[::1]:5433` becomes `db1,::1` and `,5433`. The text of the ports is empty if
    the URL names none.
    """
    hosts = []
    ports = []
    for host_and_port in hosts_and_ports.split(","):
        if host_and_port.startswith("["):
            host, _, port = host_and_port[1:].partition("]")
            port = port.removeprefix(":")
        else:
            host, _, port = host_and_port.partition(":")
        hosts.append(host)
        ports.append(port)
    if not any(ports):
        return ",".join(hosts), ""
    return ",".join(hosts), ",".join(ports)


def _parse_query(query: str) -> dict[str, str]:
    """Return the parameters of a query by name. The last one with the same name counts.

    Raises `ValueError` if a percent-encoded character is not allowed.
    """
    parameters: dict[str, str] = {}
    host_parameters = []
    for parameter in filter(None, query.split("&")):
        encoded_name, _, encoded_value = parameter.partition("=")
        name = _decode(encoded_name)
        value = _decode(encoded_value)
        parameters[name] = value
        if name == "host":
            host_parameters.append(value)

    matches = [_HOST_PARAMETER_WITH_PORT.fullmatch(host) for host in host_parameters]
    hosts_with_ports = [match for match in matches if match is not None]
    if host_parameters and len(hosts_with_ports) == len(host_parameters):
        parameters["host"] = ",".join(match[1] for match in hosts_with_ports)
        parameters.setdefault("port", ",".join(match[2] for match in hosts_with_ports))
    return parameters


def _decode(text: str) -> str:
    """Return a percent-encoded text. "+" is not a space.

    Raises `ValueError` if the text is not UTF-8 or contains a null character.
    """
    decoded_text = unquote(text, errors="strict")
    if "\0" in decoded_text:
        raise ValueError
    return decoded_text
