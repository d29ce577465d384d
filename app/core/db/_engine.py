"""Creates SQLAlchemy engines whose connections obey the parameters of a database URL."""

import ssl
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.core.db._connector import PREFER_PRIMARY, CheckConnection, Connector, Host, KeepAlive
from app.database_url import SYSTEM_CERTIFICATES, load_client_certificate

# asyncpg.connect() has no arguments for these parameters. It reads them only from a URL.
_TLS_PARAMETERS: Final = (
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslnegotiation",
    "sslrootcert",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)
# The isolation level that the database or the role has by default: `default_transaction_isolation`.
DATABASE_DEFAULT: Final = "DATABASE DEFAULT"
# The time in seconds in which a connection must be open if the caller sets no limit. It is the
# default of asyncpg.
_DEFAULT_TIMEOUT: Final = 60.0


def prefer_primary(url: URL) -> URL:
    """Return a URL whose connections lead to the primary, and to a standby while none exists.

    A URL with one host, or with a `target_session_attrs` that requires a role, is not changed.
    """
    has_several_hosts = "," in str(url.query.get("host"))
    if has_several_hosts and url.query.get("target_session_attrs", "any") == "any":
        return url.update_query_dict({"target_session_attrs": PREFER_PRIMARY})
    return url


def create_postgres_engine(
    url: URL,
    *,
    timeout_seconds: float = _DEFAULT_TIMEOUT,
    postgres_settings: Mapping[str, str] | None = None,
    read_only: bool = False,
    check_connection: CheckConnection | None = None,
    connect_args: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncEngine:
    """Create an engine for a URL with parameters of libpq, as `Settings.sqlalchemy_url` has them.

    Args:
        url: The URL of the database. It may have several hosts.
        timeout_seconds: How long opening a connection may take, with all hosts together.
        postgres_settings: Settings of Postgres, for example `{"statement_timeout": "5000"}`. The
            name of the application in the URL takes precedence.
        read_only: Make the transactions of each connection read-only by default.
        check_connection: Is called first with a new connection. Raises an error if it is unusable.
        connect_args: Further arguments of `asyncpg.connect`.
        options: Further options of `create_async_engine`.
    """
    parameters = {name: ",".join(values) for name, values in url.normalized_query.items()}
    connector = Connector(
        timeout_seconds=timeout_seconds,
        check_connection=check_connection,
        read_only=read_only,
        **_find_connector_options(url, parameters),
    )
    all_connect_args = {
        **(connect_args or {}),
        **_find_connect_args(parameters, postgres_settings or {}),
        "async_creator_fn": connector.connect,
    }
    # The connector and the arguments above replace the parameters, which asyncpg does not know.
    engine_url = url.difference_update_query(parameters.keys() - {"host", "port"})
    engine = create_async_engine(engine_url, connect_args=all_connect_args, **options)
    _support_default_isolation(engine)
    return engine


def _support_default_isolation(engine: AsyncEngine) -> None:
    """Let the isolation level of an engine be `DATABASE_DEFAULT`.

    SQLAlchemy has no name for it. asyncpg sends BEGIN without an isolation level if it is None.
    """
    dialect: Any = engine.dialect
    # The names of isolation levels, and what asyncpg calls them.
    dialect._isolation_lookup[DATABASE_DEFAULT] = None  # noqa: SLF001


def _find_connector_options(url: URL, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of `Connector` that are parts of the URL."""
    return {
        "hosts": _find_hosts(url, parameters),
        "host_timeout_seconds": float(parameters.get("connect_timeout", 0)),
        "target_session_attrs": parameters.get("target_session_attrs"),
        "shuffle": parameters.get("load_balance_hosts") == "random",
        "keep_alive": KeepAlive.from_parameters(parameters),
    }


def _find_connect_args(
    parameters: Mapping[str, str], postgres_settings: Mapping[str, str]
) -> dict[str, Any]:
    """Return the arguments of `asyncpg.connect` that are parameters of the URL."""
    return {
        **_tls_arguments(parameters),
        "server_settings": _merge_settings(postgres_settings, parameters),
        "passfile": parameters.get("passfile"),
    }


def _find_hosts(url: URL, parameters: Mapping[str, str]) -> list[Host]:
    """Return the hosts of a URL. The one of a URL without a host is the default of the driver."""
    if "host" not in parameters:
        return [Host(url.host, url.port)]
    hosts = parameters["host"].split(",")
    if "port" not in parameters:
        return [Host(host, url.port) for host in hosts]
    ports = [int(port) for port in parameters["port"].split(",")]
    return [Host(host, port) for host, port in zip(hosts, ports, strict=True)]


def _merge_settings(
    postgres_settings: Mapping[str, str], parameters: Mapping[str, str]
) -> dict[str, str]:
    """Return the settings of a connection, with those in the parameters of the URL."""
    settings = dict(postgres_settings)
    for parameter_name in ("fallback_application_name", "application_name"):
        if parameter_name in parameters:
            settings["application_name"] = parameters[parameter_name]
    if "options" in parameters:
        settings["options"] = parameters["options"]
    return settings


def _tls_arguments(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of `asyncpg.connect` for TLS, for example `{"ssl": "require"}`."""
    arguments: dict[str, Any] = {"ssl": parameters.get("sslmode")}
    url_parameters = {name: parameters[name] for name in _TLS_PARAMETERS if name in parameters}
    if url_parameters:
        # All other parts of the connection are arguments, which take precedence.
        arguments["dsn"] = f"postgresql://?{urlencode(url_parameters)}"
    if parameters.get("sslrootcert") == SYSTEM_CERTIFICATES:
        arguments["ssl"] = _create_system_context(parameters)
    return arguments


def _create_system_context(parameters: Mapping[str, str]) -> ssl.SSLContext:
    """Return a TLS context that trusts the authorities of this machine, and checks host names.

    asyncpg would take "system" for the name of a file.
    """
    context = ssl.create_default_context()
    # Python 3.13 sets this flag, which refuses certificates of many private authorities. libpq does
    # not set it, and neither does the driver for other values of `sslrootcert`.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    # Postgres requires this for sslnegotiation=direct.
    context.set_alpn_protocols(["postgresql"])
    if "ssl_min_protocol_version" in parameters:
        context.minimum_version = _tls_version(parameters["ssl_min_protocol_version"])
    if "ssl_max_protocol_version" in parameters:
        context.maximum_version = _tls_version(parameters["ssl_max_protocol_version"])
    if "sslcert" in parameters:
        load_client_certificate(context, parameters["sslcert"], parameters.get("sslkey", ""))
    return context


def _tls_version(name: str) -> ssl.TLSVersion:
    """Return the version of TLS with a name such as "TLSv1.2"."""
    return ssl.TLSVersion[name.replace(".", "_")]
