"""Operations of the OpenAPI document share what they have in common, and read well."""

import json
from collections import Counter
from typing import Any

import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator

from app import CONTACT, LICENSE
from app.core.http._openapi_components import share_components
from tests.support.factories import Json
from tests.support.openapi_schemas import objects_in

METHODS = ["get", "post", "put", "patch", "delete"]


@pytest.fixture(scope="module")
def served_document(application: FastAPI) -> Json:
    """The OpenAPI document as clients get it, with references to components."""
    document: Json = json.loads(json.dumps(application.openapi()))
    return document


def operations_of(document: Json) -> list[Json]:
    return [operation for item in document["paths"].values() for operation in item.values()]


def parameter_of(name: str, location: str, text: str) -> Json:
    return {"name": name, "in": location, "schema": {"type": "string"}, "description": text}


def document_of(**operations: Json) -> Json:
    """Return a document with operations, by their ids, each at a path of its own."""
    paths = {}
    for operation_id, operation in operations.items():
        paths[f"/{operation_id}"] = {
            "get": {"operationId": operation_id, "parameters": [], "responses": {}, **operation}
        }
    # Copies, as those that FastAPI makes: equal parts of operations are not the same object.
    document: Json = json.loads(json.dumps({"paths": paths, "components": {"schemas": {}}}))
    return document


def test_operations_do_not_repeat_parameters_and_error_responses(served_document: Json) -> None:
    copies: Counter[str] = Counter()
    for operation in operations_of(served_document):
        errors = [value for status, value in operation["responses"].items() if status >= "300"]
        for part in (*operation["parameters"], *errors):
            if "$ref" not in part:
                copies[json.dumps(part, sort_keys=True)] += 1
    assert [part for part, count in copies.items() if count > 1] == []


def test_document_is_a_third_as_large_as_with_copies(served_document: Json, document: Json) -> None:
    assert len(json.dumps(served_document)) < 0.5 * len(json.dumps(document))


def test_different_parameters_of_one_name_get_names_of_their_resources() -> None:
    book_id = {"parameters": [parameter_of("id", "path", "book")]}
    user_id = {"parameters": [parameter_of("id", "path", "user")]}
    query_id = {"parameters": [parameter_of("id", "query", "ids")]}
    document = document_of(
        read_book=book_id,
        update_book=book_id,
        read_user=user_id,
        update_user=user_id,
        list_books=query_id,
        list_users=query_id,
    )
    share_components(document)
    assert list(document["components"]["parameters"]) == ["BookId", "UserId", "QueryId"]
    reference = {"$ref": "#/components/parameters/BookId"}
    assert document["paths"]["/update_book"]["get"]["parameters"] == [reference]


def test_responses_of_one_description_get_names_of_their_headers() -> None:
    plain = {"responses": {"404": {"description": "Not found"}}}
    headers: dict[str, Any] = {"Retry-After": {"schema": {"type": "integer"}}}
    with_header = {"responses": {"404": {"description": "Not found", "headers": headers}}}
    document = document_of(a=with_header, b=with_header, c=plain, d=plain)
    share_components(document)
    assert list(document["components"]["responses"]) == ["NotFound", "NotFoundWithRetryAfter"]


def test_responses_with_one_problem_type_get_names_of_their_errors(served_document: Json) -> None:
    responses = served_document["components"]["responses"]
    # The service has no library, so that no name needs a number.
    assert [name for name in responses if not name.isalpha()] == []
    login_responses = served_document["paths"]["/tokens"]["post"]["responses"]
    assert login_responses["429"] == {"$ref": "#/components/responses/TooManyFailedLogins"}
    [problem] = responses["TooManyFailedLogins"]["content"]["application/problem+json"][
        "examples"
    ].values()
    assert problem["value"]["type"] == "urn:problem-type:bookshelf:too-many-requests"


def test_responses_are_sorted_by_status(served_document: Json) -> None:
    for operation in operations_of(served_document):
        assert list(operation["responses"]) == sorted(operation["responses"])


def test_part_of_one_operation_stays_there() -> None:
    parameter = parameter_of("id", "path", "book")
    document = document_of(read_book={"parameters": [parameter]})
    share_components(document)
    assert document["paths"]["/read_book"]["get"]["parameters"] == [parameter]
    assert document["components"]["parameters"] == {}


def test_component_of_a_library_keeps_its_name() -> None:
    missing = {"responses": {"404": {"description": "Not found"}}}
    document = document_of(a=missing, b=missing)
    document["components"]["responses"] = {"NotFound": {"description": "of a library"}}
    share_components(document)
    assert document["components"]["responses"]["NotFound"] == {"description": "of a library"}
    reference = {"$ref": "#/components/responses/NotFound2"}
    assert document["paths"]["/a"]["get"]["responses"]["404"] == reference


def test_paths_and_methods_are_in_reading_order(served_document: Json) -> None:
    paths = served_document["paths"]
    order = [path for path in paths if path.startswith("/books")]
    assert order == sorted(order, key=lambda path: (path.count("/"), path.count("{")))
    assert list(paths["/books/{id}"]) == ["get", "patch", "delete"]
    for path_item in paths.values():
        assert list(path_item) == sorted(path_item, key=METHODS.index)
    tags = [next(iter(item.values()))["tags"][0] for item in paths.values()]
    tag_names = [tag["name"] for tag in served_document["tags"]]
    assert tags == sorted(tags, key=tag_names.index)


def test_problem_may_have_a_type_that_is_not_known_yet(served_document: Json) -> None:
    schemas = served_document["components"]["schemas"]
    problem = {
        "type": "urn:problem-type:bookshelf:not-invented-yet",
        "title": "Not invented yet",
        "status": 418,
        "detail": "x",
        "instance": "/books",
        "request_id": "x",
    }
    schema = {**schemas["Problem"], "components": served_document["components"]}
    assert list(Draft202012Validator(schema).iter_errors(problem)) == []
    assert problem["type"] not in schemas["ProblemType"]["enum"]
    assert "urn:problem-type:bookshelf:method-not-allowed" in schemas["ProblemType"]["enum"]


@pytest.mark.parametrize("model_name", ["Problem", "FieldError", "LoginForm"])
def test_member_that_is_absent_or_text_is_not_documented_as_null(
    served_document: Json, model_name: str
) -> None:
    schema = served_document["components"]["schemas"][model_name]
    assert "null" not in json.dumps(schema)
    assert not any("default" in member for member in schema["properties"].values())


def test_values_that_are_not_identifiers_have_names(served_document: Json) -> None:
    for location, schema in objects_in(served_document):
        values: list[str] = schema.get("enum", [])
        names: list[str] = schema.get("x-enum-varnames", values)
        assert len(set(names)) == len(values), location
        assert all(name.isidentifier() for name in names), location
    sort = served_document["components"]["parameters"]["BooksSort"]["schema"]["items"]
    names_by_key = dict(zip(sort["enum"], sort["x-enum-varnames"], strict=True))
    assert names_by_key["-created_at"] == "CREATED_AT_DESC"


def test_integers_have_the_format_of_their_limits(served_document: Json) -> None:
    for location, schema in objects_in(served_document):
        if schema.get("type") == "integer":
            expected = "int32" if schema["maximum"] < 2**31 else "int64"
            assert schema["format"] == expected, location


def test_path_parameters_and_conditional_headers_have_examples(served_document: Json) -> None:
    for _, parameter in objects_in(served_document):
        if parameter.get("in") == "path":
            validator = Draft202012Validator(parameter["schema"])
            assert list(validator.iter_errors(parameter["example"])) == []
        if parameter.get("name") in ["If-Match", "If-None-Match"]:
            validator = Draft202012Validator(parameter["schema"])
            [example] = parameter["schema"]["examples"]
            assert list(validator.iter_errors(example)) == []


def test_document_states_contact_license_and_server(served_document: Json) -> None:
    assert served_document["info"]["contact"] == CONTACT
    assert served_document["info"]["license"] == LICENSE
    assert served_document["servers"] == [{"url": "/"}]


def test_every_header_component_is_used(served_document: Json) -> None:
    references = {part.get("$ref") for _, part in objects_in(served_document)}
    for name in served_document["components"]["headers"]:
        assert f"#/components/headers/{name}" in references
