"""The errors that do not belong to an entity, and the general error of each status."""

from collections.abc import Iterator

from httpx import AsyncClient

from app.core import errors
from app.core.errors import ERRORS_BY_STATUS, NotFound, ServiceError, TooManyRequests, Unavailable
from app.core.storage._object_store import StoreRejected
from tests.support.problems import check_problem


def render_class_tree(error: type[ServiceError], depth: int = 0) -> Iterator[str]:
    """Yield a line for a class and each of its subclasses, for example `    NotFound 404`."""
    yield " ".join(["    " * depth + error.__name__, *render_status(error)])
    for subclass in error.__subclasses__():
        if subclass.__module__ == errors.__name__:
            yield from render_class_tree(subclass, depth + 1)


def render_status(error: type[ServiceError]) -> list[str]:
    """Return the status that a class sets. The list is empty if it inherits the status."""
    return [str(error.status)] if "status" in vars(error) else []


def find_subclasses(error: type[ServiceError]) -> Iterator[type[ServiceError]]:
    """Yield a class of the application and all classes that derive from it."""
    yield error
    for subclass in error.__subclasses__():
        if subclass.__module__.startswith("app."):
            yield from find_subclasses(subclass)


def test_docstring_shows_tree_of_error_classes() -> None:
    _, _, tree = (errors.__doc__ or "").partition(":\n\n")
    tree_lines = [line.removeprefix("    ") for line in tree.splitlines() if line.strip()]
    indented = [
        line[: len(line) - len(line.lstrip())] + " ".join(line.split()) for line in tree_lines
    ]
    assert indented == list(render_class_tree(ServiceError))


async def test_framework_404_is_general_not_found_despite_entity_error(client: AsyncClient) -> None:
    class NoSuchShelf(ServiceError):
        """An error of an entity that has the same status as the general `NotFound`."""

        status = 404
        detail = "There is no such shelf"

    assert ERRORS_BY_STATUS[NoSuchShelf.status] is NotFound
    check_problem(await client.get("/nope"), 404, "not-found")


def test_429_and_503_have_the_same_form_for_every_limit() -> None:
    limit_errors = list(find_subclasses(TooManyRequests))
    assert {error.__name__ for error in limit_errors} >= {
        "TooManyFailedLogins",
        "TooManyPipelinedRequests",
        "TooManyRegistrations",
    }
    assert {error.type for error in limit_errors} == {"too-many-requests"}
    temporary_errors = {*limit_errors, *find_subclasses(Unavailable)} - {StoreRejected}
    for error in temporary_errors:
        assert error.retry_after is not None
        assert error.detail.endswith("Retry later.")
    for error in ServiceError.__subclasses__():
        if error not in {TooManyRequests, Unavailable}:
            assert error.status not in {429, 503}
