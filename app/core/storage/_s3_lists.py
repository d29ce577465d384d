"""Pages of lists in the responses of S3 stores, which differ in what they send.

Each function returns the elements of a page, and the marker of the next page or None.
"""

from typing import Any, Final

from app.core.storage._object_store import (
    ListedObject,
    MultipartUpload,
    ObjectVersion,
    UploadMarker,
)

# The elements of a page of versions, and whether they contain delete markers.
_VERSION_ELEMENTS: Final = {"Versions": False, "DeleteMarkers": True}


def parse_uploads_page(
    response: dict[str, Any],
) -> tuple[list[MultipartUpload], UploadMarker | None]:
    """Parse a response to ListMultipartUploads."""
    uploads = [
        MultipartUpload(upload["Key"], upload["UploadId"], upload.get("Initiated"))
        for upload in response.get("Uploads", [])
    ]
    # rclone leaves the element out on the last page.
    has_more = response.get("IsTruncated", False)
    if not has_more:
        return uploads, None
    # The key and id of the last upload would not do: SeaweedFS does not sort uploads by key.
    return uploads, UploadMarker(response.get("NextKeyMarker"), response.get("NextUploadIdMarker"))


def parse_objects_page(response: dict[str, Any]) -> tuple[list[ListedObject], str | None]:
    """Parse a response to ListObjectsV2."""
    objects = [
        ListedObject(listed_object["Key"], listed_object["Size"])
        for listed_object in response.get("Contents", [])
    ]
    next_token = response.get("NextContinuationToken", "")
    # Some stores return a token on the last page as well. Others leave the token out although there
    # are more objects. With the empty marker, the first page is read again, and `iterate_pages`
    # raises `StoreFailed`.
    has_more = response.get("IsTruncated", next_token != "")
    if not has_more:
        return objects, None
    return objects, next_token


def parse_versions_page(
    response: dict[str, Any], key: str
) -> tuple[list[ObjectVersion], str | None]:
    """Parse a response to ListObjectVersions, of which only the versions of one key are needed."""
    versions = [
        ObjectVersion(version["VersionId"], version["LastModified"], is_delete_marker)
        for element, is_delete_marker in _VERSION_ELEMENTS.items()
        for version in response.get(element, [])
        # S3 selects keys by a prefix, so there may be longer ones.
        if version["Key"] == key
    ]
    # Keys are sorted, so after the first page with a longer key there are only longer ones.
    has_more = response.get("IsTruncated", False) and response.get("NextKeyMarker") == key
    if not has_more:
        return versions, None
    # S3 refuses an empty marker, so a list without its marker fails.
    return versions, response.get("NextVersionIdMarker", "")
