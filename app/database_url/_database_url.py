"""Checks database URLs, and converts them to URLs of SQLAlchemy."""

from typing import Annotated, Final

from pydantic import AfterValidator, SecretStr
from sqlalchemy.engine import URL

from app.database_url._libpq_url import parse_libpq_url, split_hosts_and_ports
from app.database_url._parameters import check_parameters
from app.database_url._tls import SYSTEM_CERTIFICATES, check_tls_parameters

_URL_MESSAGE: Final = (
    "Must be a URL such as postgresql://user:password@host:5432/name. Percent-encode special"
    " characters, also in the password: @ as %40, : as %3A, / as %2F, ? as %3F, # as %23, [ as %5B,"
    " ] as %5D, % as %25, and a space as %20. In parameters also = as %3D and & as %26"
)


def to_sqlalchemy_url(database_url: SecretStr) -> URL:
    """Return the URL of a database as a SQLAlchemy URL, which hides the password when printed.

    Its query contains the parameters of libpq, for example `sslmode`. It also contains the host if
    that is the directory of a socket or a list: `?host=db1,db2&port=5432,5433`.

    `create_postgres_engine` in core/db creates an engine for such a URL.
    """
    parameters = _parse_database_url(database_url)
    # These parts of a SQLAlchemy URL must not be in its query, which is not hidden.
    url = URL.create(
        "postgresql+asyncpg",
        username=parameters.pop("user", None),
        password=parameters.pop("password", None),
        database=parameters.pop("dbname", None),
    )
    host = parameters.get("host", "")
    is_single_host = "," not in host and not host.startswith("/")
    if is_single_host:
        parameters.pop("host", None)
        port = parameters.pop("port", "")
        url = url.set(host=host or None, port=int(port) if port else None)
    return url.set(query=parameters)


def _parse_database_url(database_url: SecretStr) -> dict[str, str]:
    """Return the parameters of a database URL by their libpq names, without empty ones.

    Raises `ValueError` if the URL is invalid. The message contains no part of it, because that may
    belong to the password.
    """
    all_parameters = parse_libpq_url(database_url.get_secret_value())
    if all_parameters is None:
        raise ValueError(_URL_MESSAGE)
    check_parameters(all_parameters)
    parameters = {name: value for name, value in all_parameters.items() if value}
    _set_ssl_mode(parameters)
    check_tls_parameters(parameters)
    _set_ports(parameters)
    return parameters


def _set_ssl_mode(parameters: dict[str, str]) -> None:
    """Set `sslmode` if other parameters imply it: `ssl`, and `sslrootcert=system`."""
    if "ssl" in parameters:
        ssl_mode = parameters.pop("ssl")
        # JDBC writes it like this, and so does libpq accept it.
        if ssl_mode == "true":
            ssl_mode = "require"
        parameters.setdefault("sslmode", ssl_mode)
    if parameters.get("sslrootcert") == SYSTEM_CERTIFICATES:
        parameters.setdefault("sslmode", "verify-full")


def _set_ports(parameters: dict[str, str]) -> None:
    """Make `port` a list with the port of each host. A single host may have none."""
    host_list = parameters.get("host", "")
    port_list = parameters.get("port", "")
    hosts_and_ports = split_hosts_and_ports(host_list or "localhost", port_list)
    if port_list or len(hosts_and_ports) > 1:
        parameters["port"] = ",".join(str(port) for _, port in hosts_and_ports)


def _require_postgres_url(database_url: SecretStr) -> SecretStr:
    """Require a valid URL of a Postgres database. See `_parse_database_url`."""
    _parse_database_url(database_url)
    return database_url


# For example "postgresql://ada:secret@db.example:5432/books?sslmode=require".
DatabaseUrl = Annotated[SecretStr, AfterValidator(_require_postgres_url)]
