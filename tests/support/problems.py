"""Checks of error responses, each of which must be a complete problem document (RFC 9457)."""

from httpx import Response

from tests.support.factories import Json

PROBLEM_MEMBERS = {"type", "title", "status", "detail", "instance", "request_id"}


def check_problem(response: Response, status: int, problem_type: str) -> Json:
    """Check that a response is a complete problem document, and return the document.

    `problem_type` is the end of the URN, for example "not-found" in
    "urn:problem-type:bookshelf:not-found". A 422 response also has `errors`, one object
    for each field error: `{"pointer": "/name", "detail": "...", "code": "missing"}`.
    """
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: Json = response.json()
    assert problem["type"] == f"urn:problem-type:bookshelf:{problem_type}"
    members = set(PROBLEM_MEMBERS)
    if status == 422:
        members.add("errors")
    assert set(problem) == members
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["x-request-id"]
    for field_error in problem.get("errors", ()):
        location_keys = set(field_error) - {"detail", "code"}
        assert len(field_error) == 3
        assert len(location_keys) == 1
        assert location_keys <= {"pointer", "parameter", "header"}
    return problem


def field_error_locations(response: Response) -> list[Json]:
    """Return the location of each field error of a 422 response: `[{"pointer": "/name"}]`."""
    problem = check_problem(response, 422, "invalid-request")
    return [
        {key: value for key, value in field_error.items() if key not in {"detail", "code"}}
        for field_error in problem["errors"]
    ]


def check_field_error(response: Response, pointer: str, code: str) -> None:
    """Check that a response is a 422 with one error, for example "missing" at "/password"."""
    assert field_error_locations(response) == [{"pointer": pointer}]
    assert response.json()["errors"][0]["code"] == code


def check_too_many_requests(response: Response) -> None:
    """Check that a caller with too much in progress is told to retry in five seconds."""
    check_problem(response, 429, "too-many-requests")
    assert response.headers["retry-after"] == "5"
