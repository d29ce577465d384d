"""Errors of books."""

from app.core.errors import Fault, InvalidRequest


class NoSuchAuthor(InvalidRequest):
    """Raised when a book refers to an author who does not exist.

    `item_pointers` name the books of a batch, for example `/items/17`; without any, the fault is
    in the only book of the body.
    """

    type = InvalidRequest.type

    def __init__(self, *item_pointers: str) -> None:
        faults = [_fault(item_pointer) for item_pointer in item_pointers or ("",)]
        super().__init__(*faults)


def _fault(item_pointer: str) -> Fault:
    return Fault(
        pointer=f"{item_pointer}/author_id",
        code="author_not_found",
        detail="There is no author with this id",
    )
