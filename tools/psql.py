"""Open the development database in psql, which is part of the embedded Postgres.

`python -m tools.psql -c '\\dt'` connects to DATABASE_URL if that is set, and otherwise to the
embedded Postgres. If `make run` has not started the embedded Postgres, this command starts it, and
stops it after psql.
"""

import os
import signal
import subprocess
import sys
from typing import Final

from sqlalchemy.engine import URL, make_url

from app import embedded
from app.cli import runtime
from app.embedded.postgresql import get_program_path

# The environment variables from which psql reads the parts and parameters of a database URL. There
# are none for the other parameters, for example those of TCP.
LIBPQ_VARIABLES: Final = {
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "host": "PGHOST",
    "port": "PGPORT",
    "database": "PGDATABASE",
    "application_name": "PGAPPNAME",
    "channel_binding": "PGCHANNELBINDING",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "gssencmode": "PGGSSENCMODE",
    "load_balance_hosts": "PGLOADBALANCEHOSTS",
    "options": "PGOPTIONS",
    "passfile": "PGPASSFILE",
    "ssl_max_protocol_version": "PGSSLMAXPROTOCOLVERSION",
    "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION",
    "sslcert": "PGSSLCERT",
    "sslcrl": "PGSSLCRL",
    "sslkey": "PGSSLKEY",
    "sslmode": "PGSSLMODE",
    "sslnegotiation": "PGSSLNEGOTIATION",
    "sslrootcert": "PGSSLROOTCERT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
STARTED_POSTGRES: Final = (
    "`make run` is not running, so Postgres was started. It will be stopped when you leave psql."
)


def main(arguments: list[str]) -> int:
    """Run psql with the arguments of the command. Return its exit code."""
    settings = runtime.load_settings(quiet=True)
    try:
        if settings.database_url is not None:
            return run_psql(settings.sqlalchemy_url, arguments)
        with embedded.run_postgres(settings.data_dir) as server:
            if server.was_started_here:
                print(STARTED_POSTGRES, file=sys.stderr)
            return run_psql(make_url(server.url()), arguments)
    except embedded.EmbeddedError as error:
        runtime.fail(str(error))


def run_psql(url: URL, arguments: list[str]) -> int:
    """Run psql with a database until the user leaves it. Return its exit code."""
    # Ctrl-C cancels a statement in psql. It must not end this process, which may have to stop
    # Postgres after psql.
    signal.signal(signal.SIGINT, lambda *_: None)
    command = [get_program_path("psql"), *arguments]
    environment = {**os.environ, **connection_variables(url)}
    return subprocess.run(command, check=False, env=environment).returncode


def connection_variables(url: URL) -> dict[str, str]:
    """Return a URL as environment variables of psql, such as `{"PGHOST": "/run", "PGUSER": "ada"}`.

    The URL may contain a password. It is not passed as an argument, because other users of the
    machine can see the arguments of a process.
    """
    parameters = {
        "user": url.username,
        "password": url.password,
        "host": url.host,
        "port": url.port,
        "database": url.database,
        **{name: ",".join(values) for name, values in url.normalized_query.items()},
    }
    return {
        LIBPQ_VARIABLES[name]: str(value)
        for name, value in parameters.items()
        if value is not None and name in LIBPQ_VARIABLES
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
