"""The database and the object store of a process: those of the settings, or embedded ones."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr

from app import embedded
from app.settings import Settings


@contextmanager
def provide_database(settings: Settings, *, linger_seconds: float = 0.0) -> Iterator[Settings]:
    """Start an embedded Postgres if the settings contain no URL of a database.

    Yields settings with the URL of a running database. The embedded Postgres stops when the block
    ends, unless other processes use it, or `linger_seconds` later. Raises `EmbeddedError` if it
    cannot be started.
    """
    if settings.database_url is not None:
        yield settings
        return
    with embedded.run_postgres(settings.data_dir, linger_seconds=linger_seconds) as postgres:
        yield settings.model_copy(update={"database_url": SecretStr(postgres.url())})


@contextmanager
def provide_object_store(settings: Settings, *, linger_seconds: float = 0.0) -> Iterator[Settings]:
    """Start an embedded S3 server if the settings contain no bucket.

    Yields settings with the address and the bucket of a running object store. The credentials of
    the embedded server are set as environment variables. The server stops like the database (see
    `provide_database`).
    """
    if settings.s3_bucket is not None:
        yield settings
        return
    with embedded.run_s3_server(settings.data_dir, linger_seconds=linger_seconds) as s3_server:
        # Remove credentials of another object store, which boto3 would mix with the new ones.
        for variable in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            os.environ.pop(variable, None)
        os.environ.update(s3_server.credential_variables())
        store_settings = {"s3_endpoint_url": s3_server.endpoint, "s3_bucket": embedded.BUCKET}
        yield settings.model_copy(update=store_settings)
