"""Sends any bytes as JSON bodies, also to every operation that takes JSON."""

from httpx import AsyncClient, Response

from tests.support.entity_case import UNKNOWN_ID

# The maximum sizes of a JSON body and of a batch, in bytes.
MAX_JSON_SIZE = 64 * 1024
MAX_BATCH_SIZE = 8 * 1024 * 1024


def max_body_size(path: str) -> int:
    """Return the maximum size of the body of an operation that takes JSON."""
    return MAX_BATCH_SIZE if path.endswith("/batch") else MAX_JSON_SIZE


async def send_body(
    client: AsyncClient, method: str, path: str, body: bytes, **headers: str
) -> Response:
    """Send any bytes as a body. For example, `Content_Encoding="gzip"` is a request header."""
    request_headers = {"Content-Type": "application/json"}
    for name, value in headers.items():
        request_headers[name.replace("_", "-")] = value
    return await client.request(method, path, content=body, headers=request_headers)


async def json_operations(
    client: AsyncClient, *, requires_body: bool = False
) -> list[tuple[str, str]]:
    """Return the method and the path of each documented operation that takes JSON.

    With `requires_body`, operations that also accept a request without a body are left out. The ids
    in the paths do not exist.
    """
    methods_and_paths = []
    for path, item in (await client.get("/openapi.json")).json()["paths"].items():
        for method, operation in item.items():
            body = operation.get("requestBody", {})
            if requires_body and not body.get("required", False):
                continue
            if "application/json" in body.get("content", {}):
                methods_and_paths.append(
                    (method, path.format(id=1 if "users" in path else UNKNOWN_ID))
                )
    assert len(methods_and_paths) >= 8
    return methods_and_paths


async def send_body_to_every_operation(
    client: AsyncClient, body: bytes, **headers: str
) -> list[Response]:
    """Send a body to each operation that takes JSON, and return the responses."""
    return [
        await send_body(client, *operation, body, **headers)
        for operation in await json_operations(client)
    ]
