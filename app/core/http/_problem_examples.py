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

    The base classes of an error are included. For example, `RequestInProgress` adds the problems
    `request-in-progress` and `conflict` to the response 409.
    """
    examples_by_status: dict[int | str, _Examples] = {}
    for error_class in error_classes:
        for base_class in error_class.__mro__:
            if issubclass(base_class, ServiceError) and base_class is not ServiceError:
                examples = examples_by_status.setdefault(base_class.status, {})
                examples[base_class.type] = _example(base_class)
    return {status: _build_response(examples) for status, examples in examples_by_status.items()}


def merge_problem_responses(
    response: OpenApiResponse, problem_response: OpenApiResponse
) -> OpenApiResponse:
    """Return an OpenAPI response that documents two responses with the same status.

    If the first one is not a problem, such as that of a foreign route, the problem is added to it
    as another media type.
    """
    content = response.get("content", {})
    if PROBLEM_MEDIA_TYPE not in content:
        merged_content = {**content, **problem_response["content"]}
        return {**problem_response, **response, "content": merged_content}
    return _build_response({**_examples_of(response), **_examples_of(problem_response)})


def _example(error_class: type[ServiceError]) -> dict[str, Any]:
    """Return the OpenAPI example of an error: a problem with the general text of the class."""
    field_errors = None
    if issubclass(error_class, InvalidRequest):
        field_errors = error_class().field_errors or [_EXAMPLE_FIELD_ERROR]
    problem = build_problem(
        error_class,
        error_class.detail,
        instance="/example",
        request_id=_EXAMPLE_REQUEST_ID,
        field_errors=field_errors,
    )
    return {"value": problem.model_dump(exclude_none=True)}


def _examples_of(problem_response: OpenApiResponse) -> _Examples:
    examples: _Examples = problem_response["content"][PROBLEM_MEDIA_TYPE]["examples"]
    return examples


def _build_response(examples: _Examples) -> OpenApiResponse:
    """Return the OpenAPI response of problems that share a status, from their examples."""
    problems = [example["value"] for example in examples.values()]
    schema = {
        "$ref": "#/components/schemas/Problem",
        "properties": {"type": {"enum": [problem["type"] for problem in problems]}},
    }
    return {
        "description": " or ".join(problem["title"] for problem in problems),
        "content": {PROBLEM_MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }
