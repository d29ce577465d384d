"""The OpenAPI document has the names that generators of clients need. See `make clients`."""

import json
import re
from collections import Counter
from collections.abc import Iterator

from tests.clients.generated_clients import ADAPTERS, DOCUMENT, find_clients
from tests.support.factories import Json
from tests.support.openapi_schemas import objects_in

SCHEMA_REFERENCE = "#/components/schemas/"
FORM_MEDIA_TYPES = {"multipart/form-data", "application/x-www-form-urlencoded"}
document: Json = json.loads(DOCUMENT.read_text())


def list_operations() -> Iterator[Json]:
    for path_item in document["paths"].values():
        yield from path_item.values()


async def test_operation_ids_differ_in_every_naming_convention() -> None:
    # For example, both `list_books` and `listBooks` become the method `listBooks`.
    names = [operation["operationId"].replace("_", "").lower() for operation in list_operations()]
    assert [name for name, count in Counter(names).items() if count > 1] == []


async def test_names_of_schemas_are_names_of_classes() -> None:
    names = list(document["components"]["schemas"])
    assert [name for name in names if not re.fullmatch(r"([A-Z][a-z0-9]*)+", name)] == []


async def test_bodies_of_json_refer_to_named_schemas() -> None:
    anonymous = [
        location
        for location, json_object in objects_in(document)
        if re.search(r"content/application/(json|[a-z-]+\+json)$", location)
        and not json_object["schema"].get("$ref", "").startswith(SCHEMA_REFERENCE)
    ]
    assert anonymous == []


async def test_objects_in_objects_have_named_schemas() -> None:
    anonymous = [
        location
        for location, schema in objects_in(document["components"]["schemas"])
        if "properties" in schema and location.count("/") > 1
    ]
    assert anonymous == []


async def test_every_property_has_a_type() -> None:
    untyped = [
        f"{location}/{name}"
        for location, schema in objects_in(document["components"]["schemas"])
        for name, property_schema in schema.get("properties", {}).items()
        if not {"type", "$ref", "anyOf", "const", "enum"} & property_schema.keys()
    ]
    assert untyped == []


async def test_null_is_a_type_of_a_schema_instead_of_a_schema() -> None:
    # Generators write a class for each schema of a union.
    unions = [
        location
        for location, schema in objects_in(document)
        if {"type": "null"} in schema.get("anyOf", []) and "$ref" not in str(schema["anyOf"])
    ]
    assert unions == []


async def test_successful_responses_stand_in_their_operations() -> None:
    # A generator gives the responses of components to which a 204 refers the type `any`.
    references = [
        f"{operation['operationId']} {status}"
        for operation in list_operations()
        for status, response in operation["responses"].items()
        if status < "300" and "$ref" in response
    ]
    assert references == []


async def test_schema_of_a_form_has_the_example_of_the_form() -> None:
    for location, body in objects_in(document):
        if location.rpartition("content/")[2] in FORM_MEDIA_TYPES:
            reference = body["schema"].get("$ref", "")
            schemas = document["components"]["schemas"]
            schema = schemas.get(reference.removeprefix(SCHEMA_REFERENCE), body["schema"])
            assert schema["examples"] == [body["example"]], location


async def test_every_adapter_has_a_section_in_the_page_about_clients() -> None:
    adapters = {client.adapter for client in find_clients()}
    assert adapters == {*ADAPTERS.glob("*.py"), *ADAPTERS.glob("*.ts")}
