"""Plain entities: what their models must have in common with the table, checked at startup."""

from typing import Any, Literal

import pytest

from app.core.crud import CrudService
from app.core.http import CrudEndpoints, Router
from app.core.paging import ListQuery, PageQuery, SortKeys
from app.core.schemas import ReadModel, RequestModel, UpdateModel, Version
from tests.support.library import EditionRepository, PublisherRead, PublisherRepository

Service = CrudService[Any, Any, Any]


class PublisherService(Service):
    """The service of a plain entity."""

    repository_class = PublisherRepository


class CountryService(PublisherService):
    """A service that adds a publisher in its own way."""

    async def create(self, data: Any) -> Any:
        return await self.repository.create({"name": data.label, "country": "GB"})


class EditionService(Service):
    """The service of an entity with a nullable column."""

    repository_class = EditionRepository


class PublisherCreate(RequestModel):
    """A new publisher."""

    name: str


class LabelCreate(RequestModel):
    """A new publisher, with a field that is not a column."""

    label: str


class PublisherUpdate(UpdateModel, PublisherCreate):
    """Changes to a publisher."""


class LabelUpdate(UpdateModel, LabelCreate):
    """Changes to a publisher."""


class NumberedRead(ReadModel):
    """A publisher with a number."""

    id: int
    version: Version


class PublisherQuery(PageQuery):
    """A page of publishers."""

    sort: SortKeys[Literal["name", "-created_at"]] = ()


class UnsortedQuery(PageQuery):
    """A page in the default order."""


class CityQuery(PublisherQuery):
    """A page of publishers of a city, for which there is no condition."""

    city: str | None = None


class WordQuery(ListQuery):
    """A page of publishers by words, for which there is no search column."""

    sort: SortKeys[Literal["name"]] = ()


class AnyOrderQuery(PageQuery):
    """A page of publishers in any order."""

    sort: SortKeys[str] = ()


class CityOrderQuery(PageQuery):
    """A page of publishers by a column that does not exist."""

    sort: SortKeys[Literal["city", "-city"]] = ()


class NullableOrderQuery(PageQuery):
    """A page of editions by a column that may be NULL."""

    sort: SortKeys[Literal["publisher_id"]] = ()


def endpoints(**changes: Any) -> CrudEndpoints[Any, Any, Any]:
    declarations: dict[str, Any] = {
        "noun": "publisher",
        "plural": "publishers",
        "service": PublisherService,
        "create_model": PublisherCreate,
        "update_model": PublisherUpdate,
        "read_model": PublisherRead,
        "query_model": PublisherQuery,
        "read_permission": "catalogue:read",
        "write_permission": "catalogue:write",
    }
    return CrudEndpoints(**{**declarations, **changes})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"create_model": LabelCreate}, "LabelCreate.label is not a column of library_publishers"),
        ({"update_model": LabelUpdate}, "LabelUpdate.label is not a column of library_publishers"),
        ({"read_model": NumberedRead}, "CrudEndpoints need a UUID key, but NumberedRead.id is"),
        ({"query_model": CityQuery}, "CityQuery.city is a filter without a condition. Add"),
        ({"query_model": WordQuery}, "WordQuery.q needs the column library_publishers.search"),
        ({"query_model": AnyOrderQuery}, "AnyOrderQuery.sort has to list its keys in a Literal"),
        ({"query_model": CityOrderQuery}, "CityOrderQuery.sort allows city, which is not a field"),
        (
            {
                "service": EditionService,
                "query_model": NullableOrderQuery,
                "create_model": LabelCreate,
            },
            "NullableOrderQuery.sort allows publisher_id, which may be NULL",
        ),
    ],
)
def test_endpoints_that_would_fail_are_refused_with_a_sentence(
    changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(TypeError, match=sentence.replace(".", r"\.")):
        endpoints(**changes).add_to(Router(prefix="/publishers", tags=["publishers"]))


@pytest.mark.parametrize(
    "changes",
    [{}, {"query_model": UnsortedQuery}, {"service": CountryService, "create_model": LabelCreate}],
)
def test_endpoints_that_work_are_added(changes: dict[str, Any]) -> None:
    router = Router(prefix="/publishers", tags=["publishers"])
    endpoints(**changes).add_to(router)
    assert len(router.routes) == 5
