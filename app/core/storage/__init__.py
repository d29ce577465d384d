"""The object store behind a small interface; boto3 stays inside."""

from app.core.storage._storage import NotStored, Request, Storage

__all__ = ["NotStored", "Request", "Storage"]
