"""The parameters of database URLs: supported values, and what to do instead of the other ones.

Each parameter has the meaning that it has for libpq, or is refused. None of them is ignored,
because an operator relies on them, for example to encrypt the connection.
"""

import re
from collections.abc import Mapping
from typing import Final

_ANY_TEXT: Final = r"[^\0]*"
_NUMBER: Final = "[0-9]{1,9}"
_SWITCH: Final = "[01]"
_SSL_MODES: Final = "disable|allow|prefer|require|verify-ca|verify-full"
_TLS_VERSIONS: Final = r"TLSv1\.[23]"
# The supported values of each parameter, as regular expressions.
SUPPORTED_VALUES: Final[Mapping[str, str]] = {
    "application_name": _ANY_TEXT,
    "channel_binding": "disable|prefer",
    "client_encoding": "(?i:utf-?8|unicode)",
    "connect_timeout": _NUMBER,
    "dbname": _ANY_TEXT,
    "fallback_application_name": _ANY_TEXT,
    "gssencmode": "disable|prefer",
    "host": r"[^@\0][^\0]*|",  # "@" begins the name of an abstract socket
    "keepalives": _SWITCH,
    "keepalives_count": _NUMBER,
    "keepalives_idle": _NUMBER,
    "keepalives_interval": _NUMBER,
    "load_balance_hosts": "disable|random",
    "options": _ANY_TEXT,
    "passfile": _ANY_TEXT,
    "password": _ANY_TEXT,
    "port": "[0-9]{0,5}(,[0-9]{0,5})*",
    "ssl": f"true|{_SSL_MODES}",
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "sslcert": _ANY_TEXT,
    "sslcertmode": "allow",
    "sslcompression": "0",
    "sslcrl": _ANY_TEXT,
    "sslkey": _ANY_TEXT,
    "sslmode": _SSL_MODES,
    "sslnegotiation": "postgres|direct",
    "sslrootcert": _ANY_TEXT,
    "sslsni": "1",
    "target_session_attrs": "any|read-write|read-only|primary|standby|prefer-standby",
    "tcp_user_timeout": _NUMBER,
    "user": _ANY_TEXT,
}
_VERIFY_SERVER: Final = (
    "Remove it, and let sslmode=verify-full with sslrootcert prove the identity of the server"
)
_WRITE_INTO_URL: Final = "Write its parameters into the URL instead"
_USE_PASSWORD: Final = "Remove it, and let the role log in with a password or a certificate"  # noqa: S105 - not one
_USE_POOLER_SETTING: Final = "Remove it, and set DB_POOLER behind a transaction-mode pooler"
_USE_SECURE_TLS: Final = "Use TLSv1.2 or TLSv1.3, because older versions are not secure"
_USE_SSLMODE: Final = "Use sslmode instead"
# Advice for parameters that are not supported, or only with some values. The first group are those
# of libpq. The second one are those of other drivers, for which hosting providers show URLs.
ADVICE: Final[Mapping[str, str]] = {
    "channel_binding": _VERIFY_SERVER,
    "client_encoding": "Remove it: the service always uses UTF-8",
    "gssencmode": _USE_SSLMODE,
    "gssdelegation": _USE_PASSWORD,
    "gsslib": _USE_PASSWORD,
    "hostaddr": "Use host instead, which may be an IP address",
    "krbsrvname": _USE_PASSWORD,
    "max_protocol_version": "Remove it: the service uses version 3.0 of the protocol",
    "min_protocol_version": "Remove it: the service uses version 3.0 of the protocol",
    "replication": "Remove it: the service does not replicate",
    "require_auth": _VERIFY_SERVER,
    "requirepeer": "Remove it, and protect the directory of the socket",
    "requiressl": _USE_SSLMODE,
    "service": _WRITE_INTO_URL,
    "servicefile": _WRITE_INTO_URL,
    "ssl_max_protocol_version": _USE_SECURE_TLS,
    "ssl_min_protocol_version": _USE_SECURE_TLS,
    "sslcertmode": "Remove it, and set sslcert only if the server asks for a certificate",
    "sslcompression": "Remove it: TLS compression is insecure",
    "sslcrldir": "Use sslcrl instead",
    "sslkeylogfile": "Set the environment variable SSLKEYLOGFILE instead",
    "sslpassword": "Use a key file without a passphrase, which only the service can read",
    "sslsni": "Remove it: the service always sends the name of the host",
    "connection_limit": "Set DB_POOL_SIZE instead",
    "pgbouncer": _USE_POOLER_SETTING,
    "pool_timeout": "Set DB_POOL_TIMEOUT instead",
    "prepared_statement_cache_size": _USE_POOLER_SETTING,
    "prepareThreshold": _USE_POOLER_SETTING,
    "schema": "Set the search_path of the role instead",
    "search_path": "Set the search_path of the role instead",
    "sslaccept": _USE_SSLMODE,
    "statement_cache_size": _USE_POOLER_SETTING,
    "statement_timeout": "Set DB_STATEMENT_TIMEOUT instead",
}
# Settings that the service sets for each connection, and what to do instead of setting them in the
# parameter `options`, where they would have no effect.
_MANAGED_SETTINGS: Final[Mapping[str, str]] = {
    "application_name": "use the parameter application_name",
    "client_encoding": "the service always uses UTF-8",
    "default_transaction_read_only": "the service sets it for the databases that it only reads",
    "lock_timeout": "it is half of DB_STATEMENT_TIMEOUT",
    "statement_timeout": "set DB_STATEMENT_TIMEOUT",
    "timezone": "the service always uses UTC",
}
# The name of a setting in `options`, for example "work_mem" of "-c work_mem=8MB".
_SETTING_IN_OPTIONS: Final = re.compile(r"(?:-c\s*|--)([\w.-]+)\s*=")


def check_parameters(parameters: Mapping[str, str]) -> None:
    """Require parameters with values that the service supports.

    Raises `ValueError` with a message that says what to do. The message contains the name of a
    parameter only if it is a known one, because an unknown one may be a part of a password. It
    never contains a value.
    """
    for name, value in parameters.items():
        pattern = SUPPORTED_VALUES.get(name)
        advice = ADVICE.get(name)
        if pattern is None and advice is None:
            supported_names = ", ".join(sorted(SUPPORTED_VALUES))
            raise ValueError(f"Supports only these query parameters: {supported_names}")
        if pattern is not None and re.fullmatch(pattern, value):
            continue
        if advice is not None:
            raise ValueError(f"Does not support this use of the query parameter {name}. {advice}")
        raise ValueError(f"Has an invalid value of the query parameter {name}")
    _check_options(parameters.get("options", ""))


def _check_options(options: str) -> None:
    """Refuse settings in `options` that the service sets itself."""
    for match in _SETTING_IN_OPTIONS.finditer(options):
        setting_name = match[1].replace("-", "_").lower()
        advice = _MANAGED_SETTINGS.get(setting_name)
        if advice is not None:
            raise ValueError(
                f"Must not set {setting_name} in the query parameter options: {advice}"
            )
