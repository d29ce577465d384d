"""A Postgres server and an S3 server for development and tests, installed with pip.

They need neither root, nor a network, nor Docker. Their data is in `DATA_DIR`, which other users of
the machine cannot read.
"""

from app.embedded.errors import EmbeddedError
from app.embedded.postgresql import run_postgres
from app.embedded.rclone import BUCKET, S3Server, run_s3_server
from app.embedded.shared_server import RELOAD_LINGER_SECONDS

__all__ = [
    "BUCKET",
    "RELOAD_LINGER_SECONDS",
    "EmbeddedError",
    "S3Server",
    "run_postgres",
    "run_s3_server",
]
