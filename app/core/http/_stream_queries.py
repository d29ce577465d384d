"""Query parameters of streams: those of a list without its pages, and the options of CSV files."""

from typing import Annotated, Any, Final

from pydantic import Field, create_model
from pydantic_core import PydanticCustomError

from app.core.formats import CsvStyle
from app.core.http._query import RefusedParameter
from app.core.paging import CountMode, PageQuery
from app.core.schemas import Flag

# The parameters that only CSV files have. They do not filter the list.
_CSV_PARAMETERS: Final = {"bom", "escape_formulas"}


def _reject_page_parameter(_: object) -> None:
    """Raise the error of a parameter that selects a page."""
    raise PydanticCustomError(
        "no_pages", "Must not be sent, because the response contains the whole list and not a page"
    )


_REFUSED: Final = RefusedParameter(_reject_page_parameter)


class StreamQuery(PageQuery):
    """Base class of the query parameters of a stream, which contains a whole list."""

    page: Annotated[int | None, _REFUSED] = None
    size: Annotated[int, _REFUSED] = 20
    cursor: Annotated[str | None, _REFUSED] = None
    count: Annotated[CountMode | None, _REFUSED] = None

    def csv_style(self) -> CsvStyle:
        """Return how to write the list as CSV. Other formats do not use it."""
        return CsvStyle()


class CsvStreamQuery(StreamQuery):
    """Base class of the query parameters of a stream in CSV."""

    bom: Flag = Field(
        default=False,
        description=(
            "Begin the file with a byte order mark, by which spreadsheets such as Excel recognize"
            " UTF-8"
        ),
    )
    escape_formulas: Flag = Field(
        default=False,
        description=(
            "Write an apostrophe before each text that a spreadsheet could execute as a formula,"
            " which begins with `=`, `+`, `-`, `@`, a tab or a line break"
        ),
    )

    def csv_style(self) -> CsvStyle:
        """Return the style that the client requests."""
        return CsvStyle(has_bom=self.bom, escapes_formulas=self.escape_formulas)

    def requested_filters(self) -> dict[str, Any]:
        """Return the filters that the client sent, without the options of the file."""
        filters = super().requested_filters()
        return {name: value for name, value in filters.items() if name not in _CSV_PARAMETERS}


def build_stream_query(query_model: type[PageQuery], base: type[StreamQuery]) -> type[StreamQuery]:
    """Return the query model of a stream: a subclass of `base` with the filters of a list.

    For example, the parameters of `GET /books.csv` are those of `BookQuery` and of
    `CsvStreamQuery`. Raises `TypeError` if both have a parameter of the same name.

    Args:
        query_model: The query model of the list.
        base: The base class of the new model: `StreamQuery`, or `CsvStreamQuery` for CSV.
    """
    for name in _CSV_PARAMETERS & query_model.model_fields.keys():
        raise TypeError(f"{query_model.__name__}.{name} is an option of CSV files. Rename it.")
    name = query_model.__name__.removesuffix("Query") + base.__name__
    # Fields of `base` take precedence over those of `query_model`. The type checker only allows
    # base classes of one type.
    return create_model(name, __base__=(base, query_model))  # type: ignore[arg-type]
