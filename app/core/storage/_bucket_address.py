"""The address that a boto3 client uses for a bucket."""

from typing import Any, Final, NamedTuple

from botocore.awsrequest import AWSResponse

# The key of an object that does not have to exist.
_EXAMPLE_KEY: Final = "key"


class BucketAddress(NamedTuple):
    """Where a client sends its requests for a bucket, and the region that its signatures name."""

    url: str  # for example https://files.s3.eu-central-1.amazonaws.com/
    region: str


def find_bucket_address(client: Any, bucket: str | None) -> BucketAddress:
    """Return the address that a boto3 client uses for a bucket. Send nothing.

    boto3 derives the address from its arguments, from environment variables such as
    `AWS_USE_FIPS_ENDPOINT`, from configuration files, and from earlier redirects to another region.
    No method returns it: `generate_presigned_url` names another host in many regions. This function
    therefore lets the client build a request, and stops it before it is signed.

    Only one thread may use the client in the meantime.
    """
    addresses = []

    def record_address(
        params: dict[str, Any], context: dict[str, Any], **_: object
    ) -> tuple[AWSResponse, dict[str, Any]]:
        bucket_url = params["url"].removesuffix(_EXAMPLE_KEY)
        addresses.append(BucketAddress(bucket_url, context["signing"]["region"]))
        # boto3 does not send a request if a handler of the event returns a response.
        return AWSResponse(params["url"], 200, {}, None), {}

    client.meta.events.register_first("before-call.s3.GetObject", record_address)
    try:
        client.get_object(Bucket=bucket, Key=_EXAMPLE_KEY)
    finally:
        client.meta.events.unregister("before-call.s3.GetObject", record_address)
    return addresses[0]
