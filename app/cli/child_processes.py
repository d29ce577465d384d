"""Starts other processes of this service that use the same database and object store."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import app
from app.embedded.processes import get_exit_with_parent_prefix
from app.settings import Settings


@contextmanager
def run_in_background(command: str, settings: Settings) -> Iterator[None]:
    """Run `python -m app COMMAND` in another process until the block ends.

    The process uses the database and the object store of `settings`. It also exits when this
    process is killed.
    """
    # Both processes would use the same port for metrics. Port 0 turns them off in the new one.
    environment = {**os.environ, **build_connection_environment(settings), "METRICS_PORT": "0"}
    # With -P, Python does not import a directory `app` of another project, from which this process
    # may have been started. It then finds this package, even if it is not installed, by PYTHONPATH.
    import_paths = [str(Path(app.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, import_paths))
    program = [*get_exit_with_parent_prefix(), sys.executable, "-P", "-m", "app", command]
    process = subprocess.Popen(program, env=environment, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def build_connection_environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables that name the database and the object store of `settings`.

    Another process that gets these variables uses the same database and object store, even if they
    are embedded servers, whose addresses are not in the environment of this process. It also has
    the same ANONYMOUS_ACCESS, whose default depends on whether the database is embedded.
    """
    database_url = ""
    if settings.database_url is not None:
        database_url = settings.database_url.get_secret_value()
    return {
        "ANONYMOUS_ACCESS": settings.anonymous_access_level,
        "DATABASE_URL": database_url,
        "S3_ENDPOINT_URL": settings.s3_endpoint_url or "",
        "S3_BUCKET": settings.s3_bucket or "",
    }
