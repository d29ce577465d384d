"""Problems in the OpenAPI document: one response for each status, with an example of each type."""

from typing import Any, Final

from app.core.errors import InvalidRequest, ServiceError
from app.core.field_errors import FieldError
from app.core.http._problems import PROBLEM_MEDIA_TYPE, build_problem

# A response object of the OpenAPI document.
OpenApiResponse = dict[str, Any]
# The examples of a response by name. The value of each is a problem.
_Examples = dict[str, dict[str, Any]]
_EXAMPLE_REQUEST_ID: Final = "0199b2f4c0de7000a000000000000000"
# The field error of the examples. Every operation reports it for a query such as `?x=1`.
_EXAMPLE_FIELD_ERROR: Final = FieldError(
    parameter="x", code="unknown_parameter", detail="Unknown parameter"
)


def openapi_problem_responses(
    *error_classes: type[ServiceError],
) -> dict[int | str, OpenApiResponse]:
    """Return the OpenAPI responses, by status, of an operation that may raise these errors.

    Each response has an example of every error with its status. The general error is included: an
    operation that may raise `RequestInProgress` also documents its base class `Conflict`.
    """
    examples_by_status: dict[int | str, _Examples] = {}
    for error_class in error_classes:
        error_and_base_classes = [
            base_class
            for base_class in error_class.__mro__
            if issubclass(base_class, ServiceError) and base_class is not ServiceError
        ]
        for documented_class in error_and_base_classes:
            examples = examples_by_status.setdefault(documented_class.status, {})
            # The most specific class comes first. A base class may have the same problem type.
            examples.setdefault(documented_class.type, _build_example(documented_class))
    return {
        status: _build_problem_response(examples) for status, examples in examples_by_status.items()
    }


def merge_problem_responses(
    response: OpenApiResponse, problem_response: OpenApiResponse
) -> OpenApiResponse:
    """Merge two OpenAPI responses of an operation that have the same status.

    If both document problems, the merged response lists the examples of both. Otherwise, `response`
    comes from a library and documents another media type, to which the problem is added.
    """
    content_by_media_type = response.get("content", {})
    if PROBLEM_MEDIA_TYPE in content_by_media_type:
        examples = {**_examples_of(response), **_examples_of(problem_response)}
        return _build_problem_response(examples)
    merged_content = {**content_by_media_type, **problem_response["content"]}
    return {**problem_response, **response, "content": merged_content}


def _build_example(error_class: type[ServiceError]) -> dict[str, Any]:
    """Build the OpenAPI example of an error: `{"value": {"title": "Not found", ...}}`.

    Its value is the problem that a client gets if this error is raised without a special message.
    """
    field_errors = None
    if issubclass(error_class, InvalidRequest):
        # A class such as `IdempotencyKeyReused` always has the same field error.
        field_errors = error_class().field_errors or [_EXAMPLE_FIELD_ERROR]
    problem = build_problem(
        error_class,
        error_class.detail,
        instance="/example",
        request_id=_EXAMPLE_REQUEST_ID,
        field_errors=field_errors,
    )
    return {"value": problem.model_dump(exclude_none=True)}


def problem_types_of(response: OpenApiResponse) -> list[str]:
    """Return the types of the problems in the examples of an OpenAPI response. It may have none."""
    problem_content = response.get("content", {}).get(PROBLEM_MEDIA_TYPE, {})
    examples: _Examples = problem_content.get("examples", {})
    return [example["value"]["type"] for example in examples.values()]


def _examples_of(problem_response: OpenApiResponse) -> _Examples:
    examples: _Examples = problem_response["content"][PROBLEM_MEDIA_TYPE]["examples"]
    return examples


def _build_problem_response(examples: _Examples) -> OpenApiResponse:
    """Build the OpenAPI response that documents all problems with one status.

    Its description lists the titles of the problems, for example "Conflict or Email taken" for 409.
    `examples` contains one example of each problem. The order of the examples does not matter, so
    that operations with the same problems have equal responses.
    """
    sorted_examples = dict(sorted(examples.items()))
    titles = [example["value"]["title"] for example in sorted_examples.values()]
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": " or ".join(titles),
        "content": {PROBLEM_MEDIA_TYPE: {"schema": schema, "examples": sorted_examples}},
    }
