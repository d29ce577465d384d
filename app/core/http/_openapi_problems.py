"""Documents the problems that an operation may respond with in the OpenAPI document.

The problems with one status are one response, with an example of each of them.
"""

from typing import Final

from app.core import errors
from app.core.errors import InvalidRequest, ServiceError
from app.core.field_errors import FieldError
from app.core.http._openapi_json import Json
from app.core.http._problems import PROBLEM_MEDIA_TYPE, build_problem, build_type
from app.core.http._route import Route
from app.core.http._server_errors import OriginNotAllowed, RequestHeaderFieldsTooLarge, UriTooLong
from app.core.sizes import format_size

# The examples of a response by the hyphenated name of the error, for example "not-found". The value
# of each is a problem.
_Examples = dict[str, Json]
_EXAMPLE_REQUEST_ID: Final = "0199b2f4c0de7000a000000000000000"
# The field error of the examples. Every operation reports it for a query such as `?x=1`.
_EXAMPLE_FIELD_ERROR: Final = FieldError(
    parameter="x", code="unknown_parameter", detail="Unknown parameter"
)
# Errors of every operation. Each request may be malformed HTTP, or have an unknown parameter.
_GENERAL_ERRORS: Final = (
    errors.InternalError,
    errors.InvalidRequest,
    errors.MalformedRequest,
    RequestHeaderFieldsTooLarge,
    UriTooLong,
)
# Errors of every operation that takes a body.
_BODY_ERRORS: Final = (errors.RequestTimeout, errors.UnsupportedMediaType, errors.Conflict)


def add_general_error_responses(operation: Json) -> None:
    """Document the error responses that every operation may have, such as 400, 422 and 500.

    FastAPI's own description of the status 422 is removed, because errors of this service have
    another format.
    """
    operation["responses"].pop("422", None)
    add_error_responses(operation, *_GENERAL_ERRORS)


def add_implied_error_responses(operation: Json, method: str, path: str, route: Route) -> None:
    """Document the error responses that follow from the method, path and body of an operation.

    For example, an operation with a path parameter may respond with 404. Therefore, the declaration
    of an endpoint lists only errors that do not follow from its method, path and body.
    """
    # Also an operation without a body refuses a request that announces a large one.
    error_types: list[type[errors.ServiceError]] = [errors.PayloadTooLarge]
    # The lookup of a token needs the database, and so do the services on which endpoints depend. If
    # all database connections stay busy, the response is 503.
    needs_database = route.permission != "public" or bool(route.dependant.dependencies)
    if needs_database:
        error_types.append(errors.Overloaded)
    has_path_parameter = "{" in path
    if has_path_parameter:
        error_types.append(errors.NotFound)
    if method != "get":
        error_types.append(OriginNotAllowed)
    if method in {"patch", "delete"}:
        error_types += [errors.PreconditionFailed, errors.Conflict]
    if "requestBody" in operation:
        error_types += _BODY_ERRORS
        if not route.streams_body:
            max_size = format_size(route.body_size_limit)
            operation["requestBody"]["description"] = f"At most {max_size}."
    if route.has_large_body:
        error_types.append(errors.TooManyRequests)
    add_error_responses(operation, *error_types)


def add_error_responses(operation: Json, *error_types: type[errors.ServiceError]) -> None:
    """Document a response for each error that an operation may raise, in the OpenAPI document.

    If the operation already has a response with the status of an error, the error is added to this
    response.

    Args:
        operation: The operation in the OpenAPI document. It is changed in place.
        error_types: The classes of the errors, for example `NotFound`.
    """
    responses = operation["responses"]
    error_responses = openapi_problem_responses(*error_types)
    for numeric_status, error_response in error_responses.items():
        status = str(numeric_status)
        if status in responses:
            responses[status] = _merge_problem_responses(responses[status], error_response)
        else:
            responses[status] = error_response


def openapi_problem_responses(*error_classes: type[ServiceError]) -> dict[int | str, Json]:
    """Return the OpenAPI responses, by status, of an operation that may raise these errors.

    Each response has an example of every error with its status. The general error is included: an
    operation that may raise `RequestInProgress` also documents its base class `Conflict`.
    """
    examples_by_status: dict[int | str, _Examples] = {}
    for error_class in error_classes:
        documented_types: set[str] = set()
        for documented_class in error_class.__mro__:
            if documented_class is ServiceError:
                break
            # The most specific class comes first. A base class may have the same problem type.
            if issubclass(documented_class, ServiceError) and (
                documented_class.type not in documented_types
            ):
                documented_types.add(documented_class.type)
                examples = examples_by_status.setdefault(documented_class.status, {})
                # Classes with the same problem type have separate examples.
                examples[documented_class.hyphenated_name] = _build_example(documented_class)
    return {
        status: _build_problem_response(examples) for status, examples in examples_by_status.items()
    }


def _build_example(error_class: type[ServiceError]) -> Json:
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


def _build_problem_response(examples: _Examples) -> Json:
    """Build the OpenAPI response that documents all problems with one status.

    Its description lists the titles of the problems, for example "Conflict or Email taken" for 409.
    `examples` contains one example of each problem. The order of the examples does not matter, so
    that operations with the same problems have equal responses.
    """
    sorted_examples = dict(sorted(examples.items()))
    # Errors with the same problem type have the same title, so a dict removes duplicates.
    titles = dict.fromkeys(example["value"]["title"] for example in sorted_examples.values())
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": " or ".join(titles),
        "content": {PROBLEM_MEDIA_TYPE: {"schema": schema, "examples": sorted_examples}},
    }


def _merge_problem_responses(response: Json, problem_response: Json) -> Json:
    """Merge two OpenAPI responses of an operation that have the same status.

    If both document problems, the merged response lists the examples of both. Otherwise, `response`
    comes from a library and documents another media type, to which the problem is added.
    """
    content_by_media_type = response.get("content", {})
    if PROBLEM_MEDIA_TYPE in content_by_media_type:
        examples = {**examples_of(response), **examples_of(problem_response)}
        return _build_problem_response(examples)
    merged_content = {**content_by_media_type, **problem_response["content"]}
    return {**problem_response, **response, "content": merged_content}


def examples_of(response: Json) -> _Examples:
    """Return the examples of problems in an OpenAPI response, by the hyphenated error name.

    For example `{"not-found": {"value": {"title": "Not found", ...}}}`. Responses of libraries and
    responses that are not errors have none.
    """
    problem_content = response.get("content", {}).get(PROBLEM_MEDIA_TYPE, {})
    examples: _Examples = problem_content.get("examples", {})
    return examples


def list_problem_types(document: Json) -> None:
    """List the known problem types in the schema of problems, without excluding new ones.

    The types are those of all operations, and those of requests that match no operation.
    """
    types = {build_type(error_class) for error_class in errors.ERRORS_BY_STATUS.values()}
    for path_item in document["paths"].values():
        for operation in path_item.values():
            for response in operation["responses"].values():
                types.update(example["value"]["type"] for example in examples_of(response).values())
    schemas = document["components"]["schemas"]
    schemas["ProblemType"] = {
        "description": "The known types of problems. Later versions may add more.",
        "type": "string",
        "enum": sorted(types),
    }
    type_schema = schemas["Problem"]["properties"]["type"]
    known_type = {"$ref": "#/components/schemas/ProblemType"}
    # A limit of the length would make a generator of Pydantic models write a class for this text.
    other_type = {"type": "string"}
    schemas["Problem"]["properties"]["type"] = {
        "description": type_schema["description"],
        "anyOf": [known_type, other_type],
    }
