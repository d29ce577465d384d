"""Open the development database in psql, which is part of the embedded Postgres.

`python -m tools.psql -c '\\dt'` connects to DATABASE_URL if that is set, and otherwise to the
embedded Postgres. If `make run` has not started it, it is started here and stops with psql.
"""

import os
import signal
import subprocess
import sys
from typing import Final

from sqlalchemy.engine import URL, make_url

from app import embedded
from app.cli import runtime
from app.embedded.postgresql import program_path

# The environment variable of libpq for each part and parameter of a URL.
VARIABLES: Final = {
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "host": "PGHOST",
    "port": "PGPORT",
    "database": "PGDATABASE",
    "ssl": "PGSSLMODE",
    "passfile": "PGPASSFILE",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}
STARTED: Final = "`make run` is not running: Postgres was started for psql, and stops with it."


def main(arguments: list[str]) -> int:
    settings = runtime.load_settings(quiet=True)
    try:
        if settings.database_url is not None:
            return run_psql(settings.sqlalchemy_url, arguments)
        with embedded.run_postgres(settings.data_dir) as server:
            if server.process is not None:
                print(STARTED, file=sys.stderr)
            return run_psql(make_url(server.url()), arguments)
    except embedded.EmbeddedError as error:
        runtime.fail(str(error))


def run_psql(url: URL, arguments: list[str]) -> int:
    # Ctrl-C cancels a statement in psql. It must not end this process, which may have to stop
    # Postgres after psql.
    signal.signal(signal.SIGINT, lambda *_: None)
    command = [program_path("psql"), *arguments]
    environment = {**os.environ, **connection_variables(url)}
    return subprocess.run(command, check=False, env=environment).returncode


def connection_variables(url: URL) -> dict[str, str]:
    """Return the URL as libpq's variables, for example `{"PGHOST": "/run", "PGUSER": "postgres"}`.

    The URL is not an argument of psql because other users can see the arguments of a process, and
    it may contain a password.
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
        VARIABLES[name]: str(value)
        for name, value in parameters.items()
        if value is not None and name in VARIABLES
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
