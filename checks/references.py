"""Replaces references between the operations and the components of an OpenAPI document."""

from typing import Any, Final

Json = dict[str, Any]
# The components that operations refer to as a whole. Schemas stay where they are, because they may
# refer to themselves.
_INLINED_KINDS: Final = ("parameters", "responses", "examples")


def inline_components(document: Json) -> Json:
    """Return a copy of a document in which each operation contains its parameters and responses.

    For example, `{"$ref": "#/components/responses/NotFound"}` becomes the response itself.
    """
    inlined: Json = _inline(document, document)
    return inlined


def resolve(document: Json, reference: str) -> Json:
    """Return the part of a document to which a reference such as "#/components/x/y" leads."""
    target: Any = document
    for key in reference.removeprefix("#/").split("/"):
        # JSON pointers escape two characters (RFC 6901).
        target = target[key.replace("~1", "/").replace("~0", "~")]
    part: Json = target
    return part


def _inline(json_value: Any, document: Json) -> Any:
    """Return a copy of a JSON value without references to the kinds of `_INLINED_KINDS`."""
    if isinstance(json_value, list):
        return [_inline(item, document) for item in json_value]
    if not isinstance(json_value, dict):
        return json_value
    reference = json_value.get("$ref")
    if isinstance(reference, str):
        kind = reference.removeprefix("#/components/").partition("/")[0]
        if kind in _INLINED_KINDS:
            return _inline(resolve(document, reference), document)
    return {key: _inline(value, document) for key, value in json_value.items()}
