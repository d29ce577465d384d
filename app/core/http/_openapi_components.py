"""Moves what operations of the OpenAPI document have in common to its components.

FastAPI writes every response and parameter into each operation that has it. Afterwards, the
document contains each of them once, and operations refer to it:

    {"$ref": "#/components/responses/NotFound"}
"""

import json
import re
from collections import Counter, defaultdict
from typing import Any, NamedTuple

from app.core.http._openapi_json import Json, add_unused_number
from app.core.http._openapi_problems import examples_of


class _Use(NamedTuple):
    """A response or parameter where an operation contains it, as `container[key]`."""

    operation_id: str
    container: Any
    key: Any

    @property
    def content(self) -> Json:
        """The response or parameter, for example `{"description": "Not found", ...}`."""
        content: Json = self.container[self.key]
        return content


# The places of equal responses or parameters.
_Uses = list[_Use]


def share_components(document: Json) -> None:
    """Replace equal responses and parameters of operations by references to components.

    A response or parameter that only one operation has stays there. So does every successful
    response, because this is the part of an operation that people read.
    """
    operations = [
        operation for path_item in document["paths"].values() for operation in path_item.values()
    ]
    parameter_uses: _Uses = []
    response_uses: _Uses = []
    for operation in operations:
        operation_id = operation.get("operationId", "")
        parameters = operation.get("parameters", [])
        responses = operation["responses"]
        parameter_uses += [
            _Use(operation_id, parameters, index) for index in range(len(parameters))
        ]
        response_uses += [
            _Use(operation_id, responses, status) for status in responses if status >= "300"
        ]
    _share(document, "parameters", _name_parameters(_find_repeated(parameter_uses)))
    _share(document, "responses", _name_responses(_find_repeated(response_uses)))


def _find_repeated(uses: _Uses) -> list[_Uses]:
    """Return the uses of each response or parameter that several operations have.

    References to components are left out.
    """
    groups: defaultdict[str, _Uses] = defaultdict(list)
    for use in uses:
        if "$ref" not in use.content:
            groups[json.dumps(use.content, sort_keys=True)].append(use)
    return [group for group in groups.values() if len(group) > 1]


def _share(document: Json, kind: str, groups_by_name: dict[str, _Uses]) -> None:
    """Move responses or parameters to the components, and refer to them where they are used.

    Args:
        document: The OpenAPI document. It is changed.
        kind: The kind of component, for example "responses".
        groups_by_name: The uses of each response or parameter, by its future name.
    """
    components = document["components"].setdefault(kind, {})
    for name, uses in groups_by_name.items():
        # A library may have a component with this name.
        component_name = add_unused_number(name, components)
        components[component_name] = uses[0].content
        for use in uses:
            use.container[use.key] = {"$ref": f"#/components/{kind}/{component_name}"}


def _name_parameters(groups: list[_Uses]) -> dict[str, _Uses]:
    """Return the uses of each parameter by the name of its component.

    The first of these names that is unique: "Id" for the parameter `id`, "QueryId" if there are
    others in other locations, and "BookId" if there are others also in the same location. The last
    name begins with the resource of the first operation, for example `read_book`.
    """
    names = Counter(uses[0].content["name"] for uses in groups)
    names_in_location = Counter((uses[0].content["in"], uses[0].content["name"]) for uses in groups)
    named_groups: dict[str, _Uses] = {}
    for uses in groups:
        parameter_name = uses[0].content["name"]
        location = uses[0].content["in"]
        _, _, resource = uses[0].operation_id.partition("_")
        candidates = [f"{resource} {parameter_name}"]
        if names_in_location[location, parameter_name] == 1:
            candidates.insert(0, f"{location} {parameter_name}")
        if names[parameter_name] == 1:
            candidates.insert(0, parameter_name)
        component_names = [_to_component_name(candidate) for candidate in candidates]
        unused_names = [name for name in component_names if name not in named_groups]
        name = (unused_names or component_names)[0]
        named_groups[add_unused_number(name, named_groups)] = uses
    return named_groups


def _name_responses(groups: list[_Uses]) -> dict[str, _Uses]:
    """Return the uses of each response by the name of its component.

    The name consists of the names of the errors, for example "ConflictOrRequestInProgress". It is
    the description if the response is not an error. If different responses have the same name, it
    also lists the headers that only some of them have: "NotFoundWithIdempotencyReplayed".
    """
    named_groups: dict[str, _Uses] = {}
    fewest_headers: dict[str, set[str]] = {}
    # The response with the fewest headers comes first, and gets the short name.
    for uses in sorted(groups, key=lambda uses: len(uses[0].content.get("headers", {}))):
        response = uses[0].content
        error_names = " or ".join(examples_of(response))
        name = _to_component_name(error_names or response["description"])
        headers = set(response.get("headers", {}))
        additional_headers = headers - fewest_headers.setdefault(name, headers)
        if additional_headers:
            header_names = [_to_component_name(header) for header in sorted(additional_headers)]
            name = f"{name}With{'And'.join(header_names)}"
        named_groups[add_unused_number(name, named_groups)] = uses
    return named_groups


def _to_component_name(text: str) -> str:
    """Return "EmailTakenOrConflict" for "Email taken or Conflict", and "IfMatch" for "If-Match"."""
    words = re.findall(r"[A-Za-z0-9]+", text)
    return "".join(word[0].upper() + word[1:] for word in words)
