"""Documents one operation of the OpenAPI document, given its route."""

from typing import Final

from app.core.http._openapi_access import document_access
from app.core.http._openapi_bodies import copy_form_example, document_body
from app.core.http._openapi_examples import add_examples
from app.core.http._openapi_headers import add_request_headers, add_response_headers
from app.core.http._openapi_json import Json, remove_null
from app.core.http._openapi_problems import add_general_error_responses, add_implied_error_responses
from app.core.http._query import find_query_model, openapi_query_parameters
from app.core.http._route import Route

# FastAPI describes each of these responses as "Successful Response".
_SUCCESS_DESCRIPTIONS: Final = {
    "200": "Success",
    "201": "Created",
    "204": "Success without content",
    "307": "Temporary redirect",
}


def document_route(
    operation: Json, method: str, path: str, route: Route, schemas: Json, anonymous_kind: str
) -> None:
    """Add to an OpenAPI operation the errors, permission, headers and examples of its route.

    FastAPI has generated the operation, but does not know these properties of our routes.

    Args:
        operation: The operation in the OpenAPI document. It is changed in place.
        method: The method of the operation, for example "get".
        path: The path of the operation, for example "/books/{id}".
        route: The route of the operation.
        schemas: The named schemas of the document, to which `$ref` refers.
        anonymous_kind: The kind of callers without a token, for example "read". It is the value of
            the setting ANONYMOUS_ACCESS.
    """
    _split_summary_from_description(operation)
    _describe_success(operation)
    _document_query_model(operation, route)
    _remove_null_from_parameters(operation)
    document_body(operation, method, schemas)
    add_general_error_responses(operation)
    add_implied_error_responses(operation, method, path, route)
    token_scopes = [] if route.token_scope is None else [route.token_scope]
    document_access(operation, route.permission, token_scopes, anonymous_kind)
    add_request_headers(operation, method, route)
    # All responses of the operation are known now.
    add_response_headers(operation, route)
    add_examples(operation, schemas)
    copy_form_example(operation, schemas)


def _split_summary_from_description(operation: Json) -> None:
    """Split the description of an operation into a summary and the rest of the description.

    FastAPI uses the docstring of an endpoint as the description, for example:

        Get a book.

        The author is embedded.

    The summary becomes "Get a book", and the description "The author is embedded."
    """
    docstring = operation.pop("description", "")
    first_paragraph, _, other_paragraphs = docstring.partition("\n\n")
    operation["summary"] = " ".join(first_paragraph.split()).removesuffix(".")
    if other_paragraphs:
        operation["description"] = other_paragraphs.strip()


def _describe_success(operation: Json) -> None:
    """Replace FastAPI's description "Successful Response", for example by "Created" for 201."""
    for status, response in operation["responses"].items():
        if response.get("description") == "Successful Response":
            response["description"] = _SUCCESS_DESCRIPTIONS.get(status, "Success")


def _document_query_model(operation: Json, route: Route) -> None:
    """Document each field of the endpoint's query model as a query parameter.

    FastAPI's own documentation of these fields is replaced, because it ignores their
    `json_schema_extra`.
    """
    query_model = find_query_model(route.dependant)
    if query_model is None:
        return
    parameters = operation.pop("parameters", [])
    other_parameters = [parameter for parameter in parameters if parameter["in"] != "query"]
    operation["parameters"] = [*other_parameters, *openapi_query_parameters(query_model)]


def _remove_null_from_parameters(operation: Json) -> None:
    """Document optional parameters as ones that clients may omit, but cannot send as null."""
    for parameter in operation.setdefault("parameters", []):
        schema = parameter["schema"]
        remove_null(schema)
        # The alternative may have a description, which belongs to the parameter.
        if "description" in schema:
            parameter["description"] = schema.pop("description")
