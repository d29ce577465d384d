"""The URLs of databases: which are valid, and their form for SQLAlchemy."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, SecretStr
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

_MAX_PORT: Final = 65535
_PERCENT_CODE: Final = "%[0-9A-Fa-f]{2}"  # for example "%40"
# A part of a URL, such as the user, without characters that would end the part. A password may also
# contain colons. Each character matches in only one way. Otherwise, rejecting a long password would
# take hours.
_TEXT: Final = rf"(?:[^\s@:/?#\[\]%]|{_PERCENT_CODE})*"
_PASSWORD: Final = rf"(?:[^\s@/?#\[\]%]|{_PERCENT_CODE})*"
# For example "postgresql://user:password@host:5432/name?sslmode=require".
#
# make_url() of SQLAlchemy accepts more. It takes the text after the first "@" for the host, so that
# messages that name the host would contain the end of a password with an "@".
_URL_PATTERN: Final = re.compile(
    rf"postgres(?:ql)?(?:\+\w+)?://"
    rf"(?:{_TEXT}(?::{_PASSWORD})?@)?"  # user and password
    r"(?:\[[0-9A-Fa-f:.]+\]|[^\s@:/?#\[\]]*)(?::[0-9]*)?"  # host and port
    rf"(?:/{_TEXT})?"  # name of the database
    r"(?:\?[^@#\n]*)?"  # parameters
)
_URL_MESSAGE: Final = (
    "Must be a URL such as postgresql://user:password@host:5432/name. Percent-encode special"
    " characters, also in the password: @ as %40, : as %3A, / as %2F, ? as %3F, # as %23, [ as %5B,"
    " ] as %5D, % as %25, and a space as %20"
)
_SSL_MODES: Final = "disable|allow|prefer|require|verify-ca|verify-full"
# The values of each parameter that asyncpg supports. It does not know the others of libpq, so that
# every connection would fail.
_PARAMETER_PATTERNS: Final = {
    "host": ".+",
    "passfile": ".+",
    "port": "[0-9]+(,[0-9]+)*",
    "ssl": _SSL_MODES,
    "sslmode": _SSL_MODES,
    "target_session_attrs": "any|primary|standby|prefer-standby|read-write|read-only",
    "user": ".+",
}


def to_sqlalchemy_url(database_url: SecretStr) -> URL:
    """Return the URL of a database in the form that SQLAlchemy needs to use asyncpg.

    `postgresql://host/name?sslmode=require` becomes
    `postgresql+asyncpg://host/name?ssl=require`, because asyncpg calls the parameter `ssl`.
    """
    url = make_url(database_url.get_secret_value())
    parameters = dict(url.query)
    if "sslmode" in parameters:
        parameters["ssl"] = parameters.pop("sslmode")
    return url.set(drivername="postgresql+asyncpg", query=parameters)


def _require_postgres_url(database_url: SecretStr) -> SecretStr:
    """Require a Postgres URL whose parts are unambiguous, and parameters that asyncpg supports.

    The messages never contain a part of the URL, because it may belong to the password.
    """
    url = _parse_postgres_url(database_url.get_secret_value())
    if url is None:
        raise ValueError(_URL_MESSAGE)
    for name, values in url.normalized_query.items():
        pattern = _PARAMETER_PATTERNS.get(name)
        if pattern is None:
            supported_names = ", ".join(_PARAMETER_PATTERNS)
            raise ValueError(f"Supports only these query parameters: {supported_names}")
        for value in values:
            if not re.fullmatch(pattern, value):
                raise ValueError(f"Has an invalid value of the query parameter {name}")
    return database_url


def _parse_postgres_url(url_text: str) -> URL | None:
    """Return the parsed URL of a Postgres database, or None if the text is not such a URL.

    The errors of `make_url` are not raised, because they may quote the password in the URL.
    """
    if not _URL_PATTERN.fullmatch(url_text):
        return None
    try:
        url = make_url(url_text)
    except (ArgumentError, ValueError):
        return None
    if url.port is not None and url.port > _MAX_PORT:
        return None
    return url


# For example "postgresql://ada:secret@db.example:5432/books?sslmode=require".
DatabaseUrl = Annotated[SecretStr, AfterValidator(_require_postgres_url)]
