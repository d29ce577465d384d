"""Implementation of `VersionedObjectStore` with boto3."""

from abc import ABC, abstractmethod
from typing import Any, Final

from botocore.exceptions import ClientError

from app.core.storage._object_store import StoreFailed, StoreRejected
from app.core.storage._versioned_store import DeleteMarker, ListedObject, ObjectHistory

# With the status "Suspended", a bucket keeps the versions from the time before.
_STATUSES_WITH_VERSIONS: Final = {"Enabled", "Suspended"}
_NOT_IMPLEMENTED_CODES: Final = {"405", "501", "MethodNotAllowed", "NotImplemented"}
_MISSING_PERMISSION: Final = "the credentials do not have the permission s3:DeleteObjectVersion"


class S3Versions(ABC):
    """The part of `S3Bucket` that lists objects, reads their versions and removes markers."""

    @abstractmethod
    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Run an S3 operation on this bucket, and return the response."""

    def list_objects(self, prefix: str, after_key: str) -> tuple[list[ListedObject], bool]:
        """Return a page of the objects that start with a prefix, and whether there are more."""
        response = self._call("list_objects_v2", Prefix=prefix, StartAfter=after_key)
        objects = [
            ListedObject(listed_object["Key"], listed_object["Size"])
            for listed_object in response.get("Contents", [])
        ]
        has_more = response.get("IsTruncated", False)
        return objects, has_more

    def keeps_versions(self) -> bool:
        """Return whether the bucket keeps the versions of deleted objects."""
        try:
            response = self._call("get_bucket_versioning")
        except StoreRejected as error:
            if _get_error_code(error) in _NOT_IMPLEMENTED_CODES:
                return False
            raise
        return response.get("Status") in _STATUSES_WITH_VERSIONS

    def read_history(self, key: str) -> ObjectHistory:
        """Return the delete markers of an object, and whether a version of it is left."""
        delete_markers: list[DeleteMarker] = []
        has_version = False
        page_parameters: dict[str, str] = {}
        while True:
            page = self._call("list_object_versions", Prefix=key, **page_parameters)
            # The prefix also selects keys that are longer.
            delete_markers += [
                DeleteMarker(marker["VersionId"], marker["LastModified"])
                for marker in page.get("DeleteMarkers", [])
                if marker["Key"] == key
            ]
            has_version |= any(version["Key"] == key for version in page.get("Versions", []))
            # Keys are sorted, so the pages after those of the key itself have only longer ones.
            has_more = page.get("IsTruncated", False) and page.get("NextKeyMarker") == key
            if not has_more:
                return ObjectHistory(delete_markers, has_version)
            page_parameters = {
                "KeyMarker": page["NextKeyMarker"],
                "VersionIdMarker": page["NextVersionIdMarker"],
            }

    def remove_delete_marker(self, key: str, marker_id: str) -> None:
        """Remove a delete marker. Do nothing if it does not exist."""
        try:
            self._call("delete_object", Key=key, VersionId=marker_id)
        except StoreRejected as error:
            code = _get_error_code(error)
            if code == "AccessDenied":
                # The reason of the error is that of deleting an object.
                raise StoreRejected(_MISSING_PERMISSION) from error
            # Otherwise, another process has removed the marker.
            if code != "NoSuchVersion":
                raise


def _get_error_code(error: StoreFailed) -> str | None:
    """Return the code of the response that caused an error, such as "AccessDenied"."""
    cause = error.__cause__
    if not isinstance(cause, ClientError):
        return None
    code: str = cause.response["Error"]["Code"]
    return code
