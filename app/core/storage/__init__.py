"""The object store in which files are stored.

Other packages use `Storage`. It runs the methods of an `ObjectStore` in threads, and limits how
many of them run at a time. `_s3.py` implements `ObjectStore` with boto3 for every S3-compatible
store, and the modules `_s3_*.py` belong to it. To use another kind of store, write a class that has
the methods of `ObjectStore` (`_object_store.py`), and create it in `StoreThreads._open_store`.
"""

from app.core.storage._object_store import (
    ListedObject,
    MultipartUpload,
    ObjectNotFound,
    ObjectRequest,
    ObjectVersion,
    StoredPart,
    StoreFailed,
)
from app.core.storage._storage import Storage
from app.core.storage._store_threads import load_client_library

__all__ = [
    "ListedObject",
    "MultipartUpload",
    "ObjectNotFound",
    "ObjectRequest",
    "ObjectVersion",
    "Storage",
    "StoreFailed",
    "StoredPart",
    "load_client_library",
]
