"""OpenAPI links from the operation that creates a resource to the operations that take its id."""

import re

from app.core.http._bodies import JSON_MEDIA_TYPE
from app.core.http._openapi_json import Json


def add_links(operation: Json, path: str, document: Json) -> None:
    """Add OpenAPI links from an operation that creates a resource to those that take its id.

    For example, the 201 response of `POST /authors` gets a link to `GET /authors/{id}`. The link
    tells clients to use the `id` in the response as the path parameter `id`.

    Args:
        operation: An operation. If it does not create a resource, it is not changed.
        path: The path of the operation, for example "/authors".
        document: The OpenAPI document with all operations.
    """
    created_response = operation["responses"].get("201", {})
    if not _contains_created_resource(created_response, document):
        return
    for other_path, path_item in document["paths"].items():
        id_parameter = _find_id_parameter(other_path, collection_path=path)
        if id_parameter is None:
            continue
        for linked_operation in path_item.values():
            operation_id = linked_operation["operationId"]
            link = _build_link(operation_id, path, id_parameter)
            created_response.setdefault("links", {})[operation_id] = link


def _contains_created_resource(response: Json, document: Json) -> bool:
    """Return whether a 201 response contains a created resource, including its id.

    A Location header shows that one resource with a URL was created. A field `id` in the JSON
    schema of the body shows that the body is this resource.
    """
    json_content = response.get("content", {}).get(JSON_MEDIA_TYPE, {})
    # For example "#/components/schemas/AuthorRead".
    schema_reference = json_content.get("schema", {}).get("$ref", "")
    schema_name = schema_reference.rpartition("/")[2]
    schema = document["components"]["schemas"].get(schema_name, {})
    has_location = "Location" in response.get("headers", {})
    has_id = "id" in schema.get("properties", {})
    return has_location and has_id


def _find_id_parameter(path: str, *, collection_path: str) -> str | None:
    """Return the name of the path parameter that selects one resource of a collection.

    For the collection "/authors", it is "id" in "/authors/{id}" and in "/authors/{id}/books".
    Returns None for the path of another collection, and for a path with more parameters, such as
    "/authors/{id}/books/{book_id}", because the id alone does not determine its value.
    """
    resource_pattern = rf"{re.escape(collection_path)}/{{(\w+)}}(/[^{{}}]+)?"
    match = re.fullmatch(resource_pattern, path)
    if match is None:
        return None
    return match[1]


def _build_link(operation_id: str, collection_path: str, id_parameter: str) -> Json:
    """Return an OpenAPI link to an operation on a resource that was created in a collection.

    For example `{"operationId": "read_review", "parameters": {"book_id": "$request.path.book_id",
    "id": "$response.body#/id"}}` for the collection "/books/{book_id}/reviews".
    """
    collection_parameters = re.findall(r"{(\w+)}", collection_path)
    parameters = {name: f"$request.path.{name}" for name in collection_parameters}
    parameters[id_parameter] = "$response.body#/id"
    return {"operationId": operation_id, "parameters": parameters}
