"""A real Postgres and a real S3 server from wheels: no root, no network, no Docker."""

from app.embedded.postgresql import postgres
from app.embedded.processes import EmbeddedError
from app.embedded.rclone import BUCKET, Store, s3

__all__ = ["BUCKET", "EmbeddedError", "Store", "postgres", "s3"]
