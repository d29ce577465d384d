"""Tests of `checks.references`: operations contain the components to which they refer."""

import json

from checks.breaking import find_breaking_changes
from checks.openapi import COMMITTED_DOCUMENT
from checks.references import inline_components


def test_operations_that_share_components_are_compared_like_those_with_copies() -> None:
    shared = json.loads(COMMITTED_DOCUMENT.read_text())
    with_copies = inline_components(shared)
    assert list(find_breaking_changes(with_copies, shared)) == []
    shared["components"]["parameters"]["Size"]["required"] = True
    changes = find_breaking_changes(with_copies, shared)
    assert ("list_books", "query parameter size is required") in list(changes)


def test_references_to_schemas_stay() -> None:
    schema = {"$ref": "#/components/schemas/Book"}
    response = {"content": {"application/json": {"schema": schema}}}
    reference = {"$ref": "#/components/responses/a~1b"}
    document = {"components": {"responses": {"a/b": response}}, "responses": [reference]}
    assert inline_components(document)["responses"] == [response]
