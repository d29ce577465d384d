"""Tests of the S3 servers that the suite runs."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from botocore.exceptions import BotoCoreError

from tests.support.stores import Store, running_moto, running_rclone, running_seaweedfs

STORES = [running_rclone, running_seaweedfs, running_moto]


@pytest.mark.parametrize("running_store", STORES)
def test_store_keeps_objects_and_stops_when_its_block_ends(
    running_store: Callable[[], AbstractContextManager[Store]],
) -> None:
    with running_store() as store:
        client = store.create_client()
        client.put_object(Bucket=store.bucket, Key="folder/name", Body=b"content")
        response = client.get_object(Bucket=store.bucket, Key="folder/name")

        assert response["Body"].read() == b"content"

    with pytest.raises(BotoCoreError):
        client.list_buckets()


@pytest.mark.parametrize(
    ("running_store", "status"), [(running_rclone, 200), (running_seaweedfs, 206)]
)
def test_range_has_the_documented_status(
    running_store: Callable[[], AbstractContextManager[Store]], status: int
) -> None:
    """Fails when rclone changes its status. Then change docs/api.md and the decision page."""
    with running_store() as store:
        client = store.create_client()
        client.put_object(Bucket=store.bucket, Key="name", Body=b"content")
        response = client.get_object(Bucket=store.bucket, Key="name", Range="bytes=1-3")

    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert response["ContentRange"] == "bytes 1-3/7"
