"""Links of OpenAPI: from the response that creates a resource to operations on that resource."""

import re

from app.core.http._bodies import JSON_MEDIA_TYPE
from app.core.http._openapi_problems import Json


def add_links(operation: Json, path: str, document: Json) -> None:
    """Link an operation that creates a resource to the operations that take the resource's id.

    For example, the 201 response of `POST /authors` gets a link to `GET /authors/{id}`. The link
    states that the parameter `id` is the `id` in the response.

    Args:
        operation: The operation that may create a resource. Others are not changed.
        path: The path of the operation, for example "/authors".
        document: The OpenAPI document with all operations.
    """
    created_response = operation["responses"].get("201", {})
    if not _contains_created_resource(created_response, document):
        return
    # For the path `/books/{book_id}/reviews`, this is `{"book_id": "$request.path.book_id"}`.
    parent_parameters = {name: f"$request.path.{name}" for name in re.findall(r"{(\w+)}", path)}
    for resource_path, path_item in document["paths"].items():
        # For the path "/authors", this matches "/authors/{id}" and "/authors/{id}/books".
        match = re.fullmatch(rf"{re.escape(path)}/{{(\w+)}}(/\w+)*", resource_path)
        if match is None:
            continue
        id_parameter = match[1]
        parameters = {**parent_parameters, id_parameter: "$response.body#/id"}
        for linked_operation in path_item.values():
            operation_id = linked_operation["operationId"]
            link = {"operationId": operation_id, "parameters": parameters}
            created_response.setdefault("links", {})[operation_id] = link


def _contains_created_resource(response: Json, document: Json) -> bool:
    """Return whether a response has a Location header and a JSON object with an `id`."""
    media_type = response.get("content", {}).get(JSON_MEDIA_TYPE, {})
    # For example "#/components/schemas/AuthorRead".
    reference = media_type.get("schema", {}).get("$ref", "")
    schema_name = reference.rpartition("/")[2]
    schema = document["components"]["schemas"].get(schema_name, {})
    return "Location" in response.get("headers", {}) and "id" in schema.get("properties", {})
