"""Finds the changes of an OpenAPI document that break clients of an older version of it."""

from collections.abc import Iterator
from typing import NamedTuple

from checks.references import inline_components
from checks.schema_changes import Json, SchemaComparison


class BreakingChange(NamedTuple):
    """A change of one operation, for example "body/name has a stricter maxLength: 100"."""

    operation_id: str
    description: str


def find_breaking_changes(old_document: Json, new_document: Json) -> Iterator[BreakingChange]:
    """Yield every way in which the new document breaks clients that were written for the old one.

    Additions such as new operations, optional parameters, fields or problems are not breaking.
    """
    old_document = inline_components(old_document)
    new_document = inline_components(new_document)
    comparison = _OperationComparison(old_document, new_document)
    for path, path_item in old_document["paths"].items():
        for method, old_operation in path_item.items():
            operation_id = old_operation["operationId"]
            new_operation = new_document["paths"].get(path, {}).get(method)
            if new_operation is None:
                yield BreakingChange(operation_id, f"{method.upper()} {path} was removed")
                continue
            for description in comparison.find_changes(old_operation, new_operation):
                yield BreakingChange(operation_id, description)


class _OperationComparison:
    """Compares operations of the old and the new document."""

    def __init__(self, old_document: Json, new_document: Json) -> None:
        self._requests = SchemaComparison(old_document, new_document, is_request=True)
        self._responses = SchemaComparison(old_document, new_document, is_request=False)

    def find_changes(self, old_operation: Json, new_operation: Json) -> Iterator[str]:
        """Yield the descriptions of the breaking changes of one operation."""
        if old_operation["operationId"] != new_operation["operationId"]:
            yield f"has the new operation id {new_operation['operationId']}"
        if _allows_anonymous_access(old_operation) and not _allows_anonymous_access(new_operation):
            yield "requires a token"
        yield from self._compare_parameters(old_operation, new_operation)
        yield from self._compare_request_bodies(old_operation, new_operation)
        yield from self._compare_responses(old_operation["responses"], new_operation["responses"])

    def _compare_parameters(self, old_operation: Json, new_operation: Json) -> Iterator[str]:
        """Yield a change if a parameter was removed, became required or accepts fewer values."""
        old_parameters = _parameters_by_name(old_operation)
        new_parameters = _parameters_by_name(new_operation)
        for name, new_parameter in new_parameters.items():
            old_parameter = old_parameters.get(name)
            was_required = old_parameter is not None and old_parameter["required"]
            if new_parameter["required"] and not was_required:
                yield f"{name} is required"
            if old_parameter is None:
                continue
            yield from self._requests.compare(
                old_parameter["schema"], new_parameter["schema"], name
            )
            # These decide between `sort=a,b` and `sort=a&sort=b`.
            if any(
                old_parameter.get(key) != new_parameter.get(key) for key in ("style", "explode")
            ):
                yield f"{name} has another style or explode"
        for name in old_parameters:
            if name not in new_parameters:
                yield f"{name} was removed"

    def _compare_request_bodies(self, old_operation: Json, new_operation: Json) -> Iterator[str]:
        """Yield a change if the body became required or accepts fewer values."""
        old_body = old_operation.get("requestBody", {})
        new_body = new_operation.get("requestBody", {})
        if new_body.get("required") and not old_body.get("required"):
            yield "a body is required"
        yield from _compare_content(old_body, new_body, "body", self._requests)

    def _compare_responses(self, old_responses: Json, new_responses: Json) -> Iterator[str]:
        """Yield the changes of statuses, headers, media types and possible values.

        An error status may be added or removed, because clients have to expect any problem.
        """
        for status in sorted(old_responses.keys() - new_responses.keys()):
            if status < "400":
                yield f"{status} is no longer a response"
        for status in sorted(new_responses.keys() - old_responses.keys()):
            if status < "400":
                yield f"{status} is a new response"
        for status in sorted(old_responses.keys() & new_responses.keys()):
            old_response = old_responses[status]
            new_response = new_responses[status]
            for header in old_response.get("headers", {}):
                if header not in new_response.get("headers", {}):
                    yield f"response {status} no longer has the header {header}"
            yield from _compare_content(
                old_response, new_response, f"response {status}", self._responses
            )


def _allows_anonymous_access(operation: Json) -> bool:
    """Return whether an operation can be called without a token."""
    # `security` lists alternatives. The empty object among them allows requests without a token, as
    # does a list that is empty or missing.
    alternatives = operation.get("security", [])
    return alternatives == [] or {} in alternatives


def _parameters_by_name(operation: Json) -> dict[str, Json]:
    """Return the parameters of an operation by names such as "query parameter page"."""
    return {
        f"{parameter['in']} parameter {parameter['name']}": parameter
        for parameter in operation.get("parameters", [])
    }


def _compare_content(
    old: Json, new: Json, location: str, comparison: SchemaComparison
) -> Iterator[str]:
    """Yield the changes of a request body or response in each of its media types.

    `location` is its name in the descriptions, for example "body" or "response 200".
    """
    new_content = new.get("content", {})
    for media_type, old_media_type in old.get("content", {}).items():
        if media_type in new_content:
            new_schema = new_content[media_type]["schema"]
            yield from comparison.compare(old_media_type["schema"], new_schema, location)
        else:
            yield f"{location} no longer has the media type {media_type}"
