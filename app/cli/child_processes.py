"""Other processes of this service that use the same database and store."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from app.embedded.processes import parent_death_prefix
from app.settings import Settings


@contextmanager
def run_beside(command: str, settings: Settings) -> Iterator[None]:
    """Run `python -m app COMMAND` as another process until the block ends."""
    # This process serves metrics on the port that both would take.
    environment = {**os.environ, **backend_environment(settings), "METRICS_PORT": "0"}
    program = [*parent_death_prefix(), sys.executable, "-m", "app", command]
    process = subprocess.Popen(program, env=environment, start_new_session=True)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def backend_environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables that name the database and the store of `settings`."""
    url = settings.database_url
    return {
        "DATABASE_URL": url.get_secret_value() if url is not None else "",
        "S3_ENDPOINT_URL": settings.s3_endpoint_url or "",
        "S3_BUCKET": settings.s3_bucket or "",
    }
