"""The object store behind a small protocol; boto3 stays inside.

`Storage` is what the service uses. It runs the methods of an `ObjectStore` in threads, and bounds
how many of them run at a time. `_s3.py` implements `ObjectStore` for every S3-compatible store. To
use another one, write a module with a class that has the same methods, and construct it in
`Storage._open_store`.
"""

from app.core.storage._object_store import (
    MultipartUpload,
    ObjectNotFound,
    ObjectRequest,
    StoredPart,
)
from app.core.storage._storage import Storage

__all__ = ["MultipartUpload", "ObjectNotFound", "ObjectRequest", "Storage", "StoredPart"]
