"""The errors that belong to no entity, and how a status finds the general one among them."""

from collections.abc import Iterator

from httpx import AsyncClient

from app.core import errors
from app.core.errors import ERRORS_BY_STATUS, NotFound, ServiceError
from tests.support.problems import check_problem


def lines_of_tree(error: type[ServiceError], depth: int = 0) -> Iterator[str]:
    yield " ".join(["    " * depth + error.__name__, *status_of(error)])
    for subclass in error.__subclasses__():
        if subclass.__module__ == errors.__name__:
            yield from lines_of_tree(subclass, depth + 1)


def status_of(error: type[ServiceError]) -> list[str]:
    """The status that a line of the tree names: only where it is set, not where it is inherited."""
    return [str(error.status)] if "status" in vars(error) else []


def test_the_docstring_draws_the_tree_of_the_classes() -> None:
    _, _, drawing = (errors.__doc__ or "").partition(":\n\n")
    drawn = [line.removeprefix("    ") for line in drawing.splitlines() if line.strip()]
    indented = [line[: len(line) - len(line.lstrip())] + " ".join(line.split()) for line in drawn]
    assert indented == list(lines_of_tree(ServiceError))


async def test_a_framework_404_is_not_found_although_an_entity_has_another_404(
    client: AsyncClient,
) -> None:
    class NoSuchShelf(ServiceError):
        """An error that an entity defines, with a status that a general error has already."""

        status = 404
        detail = "There is no such shelf"

    assert ERRORS_BY_STATUS[NoSuchShelf.status] is NotFound
    check_problem(await client.get("/nope"), 404, "not-found")


def test_a_status_that_only_an_entity_uses_has_no_general_error() -> None:
    assert 429 not in ERRORS_BY_STATUS
