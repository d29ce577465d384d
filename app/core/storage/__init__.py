"""The object store in which files are stored.

Other packages use `Storage`. It runs the methods of an `ObjectStore` in threads, and limits how
many of them run at a time. `_s3.py` implements `ObjectStore` with boto3 for every S3-compatible
store. To use another kind of store, write a module with a class that has the same methods, and
create it in `Storage._open_store`.
"""

from app.core.storage._object_store import (
    MultipartUpload,
    ObjectNotFound,
    ObjectRequest,
    StoredPart,
    StoreFailed,
)
from app.core.storage._storage import Storage
from app.core.storage._versioned_store import ListedObject, ObjectVersion

__all__ = [
    "ListedObject",
    "MultipartUpload",
    "ObjectNotFound",
    "ObjectRequest",
    "ObjectVersion",
    "Storage",
    "StoreFailed",
    "StoredPart",
]
