"""What every error answer must be, whoever made it: a whole problem (RFC 9457) and nothing else."""

from httpx import Response

from tests.support.factories import Json

MEMBERS = {"type", "title", "status", "detail", "instance", "request_id"}


def problem_of(answer: Response, status: int, kind: str) -> Json:
    """The problem in an answer, after checking that it is one of this kind with every member."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: Json = answer.json()
    assert problem["type"] == f"urn:problem-type:bookshelf:{kind}"
    assert set(problem) == MEMBERS | ({"errors"} if status == 422 else set())
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    for fault in problem.get("errors", ()):
        assert set(fault) > {"detail", "code"}
        assert len(set(fault) & {"pointer", "parameter", "header"}) == 1
        assert len(fault) == 3
    return problem


def faults_of(answer: Response) -> list[Json]:
    """Where a 422 says that the request is wrong: `{"pointer": "/name"}` and the like."""
    errors = problem_of(answer, 422, "invalid-request")["errors"]
    return [
        {key: value for key, value in fault.items() if key not in {"detail", "code"}}
        for fault in errors
    ]
