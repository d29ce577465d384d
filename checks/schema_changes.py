"""Finds the changes of a JSON schema that break clients."""

from collections.abc import Iterator
from typing import Any, Final

Json = dict[str, Any]
# Keywords of JSON Schema that limit a value, and the limit that their absence means.
_LOWER_LIMITS: Final = {"minLength": 0, "minItems": 0, "minimum": float("-inf")}
_UPPER_LIMITS: Final = dict.fromkeys(("maxLength", "maxItems", "maximum"), float("inf"))
# Keywords whose values cannot be compared: any change may be stricter.
_FORMS: Final = ("pattern", "format")
# Stands for the values of a schema that does not list them.
_UNLISTED: Final = ["an unlisted value"]


class SchemaComparison:
    """Compares schemas of two OpenAPI documents, either those of requests or of responses.

    What clients send has to stay valid, so the schema of a request must not become stricter.
    Clients have to know what they receive, so the schema of a response must not become wider.

    Args:
        old_document: The document for which clients were written.
        new_document: The document of the current code.
        is_request: True compares requests, False compares responses.
    """

    def __init__(self, old_document: Json, new_document: Json, *, is_request: bool) -> None:
        self._old_document = old_document
        self._new_document = new_document
        self._is_request = is_request

    def compare(self, old_schema: Json, new_schema: Json, location: str) -> Iterator[str]:
        """Yield a description of each change that breaks clients.

        `location` is where the descriptions begin: "body/name" in "body/name was removed".
        """
        old_alternatives = _alternatives(old_schema, self._old_document)
        new_alternatives = _alternatives(new_schema, self._new_document)
        if self._is_request:
            # Each alternative that clients send has to fit one that is accepted now.
            for old in old_alternatives:
                pairs = [(old, new) for new in new_alternatives]
                yield from self._changes_of_closest_pair(pairs, location)
        else:
            # Each alternative that is sent now has to fit one that clients know.
            for new in new_alternatives:
                pairs = [(old, new) for old in old_alternatives]
                yield from self._changes_of_closest_pair(pairs, location)

    def _changes_of_closest_pair(self, pairs: list[tuple[Json, Json]], location: str) -> list[str]:
        """Return the changes of the pair that has the fewest, or [] if one pair fits."""
        changes_of_pairs = [list(self._compare_pair(old, new, location)) for old, new in pairs]
        return min(changes_of_pairs, key=len)

    def _compare_pair(self, old: Json, new: Json, location: str) -> Iterator[str]:
        """Yield the changes between two schemas that have neither references nor alternatives."""
        old_type = old.get("type", "any type")
        new_type = new.get("type", "any type")
        if old_type != new_type:
            yield f"{location} changed from {old_type} to {new_type}"
            return
        yield from self._compare_listed_values(old, new, location)
        if self._is_request:
            yield from _stricter_limits(old, new, location)
        yield from self._compare_properties(old, new, location)
        if "items" in old and "items" in new:
            yield from self.compare(old["items"], new["items"], f"{location}/*")

    def _compare_listed_values(self, old: Json, new: Json, location: str) -> Iterator[str]:
        """Yield values of an enum that a request may no longer have, or that a response may have.

        A schema without an enum allows every value.
        """
        old_values = _listed_values(old)
        new_values = _listed_values(new)
        if self._is_request and new_values is not None:
            for value in old_values or _UNLISTED:
                if value not in new_values:
                    yield f"{location} can no longer be {value}"
        if not self._is_request and old_values is not None:
            for value in new_values or _UNLISTED:
                if value not in old_values:
                    yield f"{location} can also be {value}"

    def _compare_properties(self, old: Json, new: Json, location: str) -> Iterator[str]:
        """Yield fields of an object that were removed, or became required or optional."""
        old_fields = old.get("properties", {})
        new_fields = new.get("properties", {})
        old_required = set(old.get("required", ()))
        new_required = set(new.get("required", ()))
        if self._is_request:
            for name in sorted(new_required - old_required):
                yield f"{location}/{name} is required"
        else:
            for name in sorted((old_required - new_required) & new_fields.keys()):
                yield f"{location}/{name} may be missing"
        for name, old_field in old_fields.items():
            if name in new_fields:
                yield from self.compare(old_field, new_fields[name], f"{location}/{name}")
            else:
                yield f"{location}/{name} was removed"


def _alternatives(schema: Json, document: Json) -> list[Json]:
    """Return the schemas of which a value has to match one.

    References, `anyOf` and lists of types are resolved. For example, the result is
    `[{"type": "string"}, {"type": "null"}]` for a string that may be null.
    """
    while "$ref" in schema:
        schema_name = schema["$ref"].rpartition("/")[2]
        schema = document["components"]["schemas"][schema_name]
    if isinstance(schema.get("type"), list):
        return [
            {"type": "null"} if type_name == "null" else {**schema, "type": type_name}
            for type_name in schema["type"]
        ]
    if "anyOf" not in schema:
        return [schema]
    alternatives = []
    for option in schema["anyOf"]:
        alternatives += _alternatives(option, document)
    return alternatives


def _listed_values(schema: Json) -> list[Any] | None:
    """Return the values that `enum` or `const` allows, or None if a schema has neither."""
    if "enum" in schema:
        values: list[Any] = schema["enum"]
        return values
    if "const" in schema:
        return [schema["const"]]
    return None


def _get_implied_limit(schema: Json, keyword: str, no_limit: float) -> float:
    """Return the upper limit that a schema has without a keyword.

    An array of unique items has at most as many items as `enum` allows values.
    """
    listed_items = _listed_values(schema.get("items", {}))
    if keyword == "maxItems" and schema.get("uniqueItems") and listed_items is not None:
        return len(listed_items)
    return no_limit


def _stricter_limits(old: Json, new: Json, location: str) -> Iterator[str]:
    """Yield the keywords of the new schema that may refuse values which the old one allowed."""
    keywords = [
        keyword
        for keyword, no_limit in _LOWER_LIMITS.items()
        if new.get(keyword, no_limit) > old.get(keyword, no_limit)
    ]
    keywords += [
        keyword
        for keyword, no_limit in _UPPER_LIMITS.items()
        if new.get(keyword, no_limit) < old.get(keyword, _get_implied_limit(old, keyword, no_limit))
    ]
    # The format of an integer, such as int64, only repeats its limits.
    if new.get("type") != "integer":
        keywords += [
            keyword for keyword in _FORMS if keyword in new and new[keyword] != old.get(keyword)
        ]
    for keyword in keywords:
        yield f"{location} has a stricter {keyword}: {new[keyword]}"
