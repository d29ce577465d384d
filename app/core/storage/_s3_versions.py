"""Implementation of `VersionedObjectStore` with boto3."""

from abc import ABC, abstractmethod
from typing import Any, Final

from botocore.exceptions import ClientError

from app.core.storage._object_store import StoreFailed, StoreRejected
from app.core.storage._versioned_store import ListedObject, ObjectVersion, VersionMarker

# With the status "Suspended", a bucket keeps the versions from the time before.
_STATUSES_WITH_VERSIONS: Final = {"Enabled", "Suspended"}
# The elements of a page of versions, and whether they contain delete markers.
_ELEMENTS_OF_VERSIONS: Final = {"Versions": False, "DeleteMarkers": True}
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

    def list_versions(
        self, key: str, marker: VersionMarker | None
    ) -> tuple[list[ObjectVersion], VersionMarker | None]:
        """Return a page of the versions of an object, and the marker of the next page."""
        page_parameters = {}
        if marker is not None:
            page_parameters = {"KeyMarker": marker.key, "VersionIdMarker": marker.version_id}
        page = self._call("list_object_versions", Prefix=key, **page_parameters)
        versions = [
            ObjectVersion(version["VersionId"], version["LastModified"], is_delete_marker)
            for element, is_delete_marker in _ELEMENTS_OF_VERSIONS.items()
            for version in page.get(element, [])
            # The prefix also selects keys that are longer.
            if version["Key"] == key
        ]
        # Keys are sorted, so after the first page with a longer key there are only longer ones.
        has_more = page.get("IsTruncated", False) and page.get("NextKeyMarker") == key
        if not has_more:
            return versions, None
        return versions, VersionMarker(key, page.get("NextVersionIdMarker", ""))

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
