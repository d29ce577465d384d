"""CrudEndpoints checks at startup that the models of an entity fit its table."""

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


class ServiceWithOwnCreate(PublisherService):
    """A service whose create model needs no columns, because it overrides `create`."""

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


class IntegerKeyRead(ReadModel):
    """A publisher whose key is not a UUID."""

    id: int
    version: Version


class PublisherQuery(PageQuery):
    """A page of publishers."""

    sort: SortKeys[Literal["name", "-created_at"]] = ()


class QueryWithoutSort(PageQuery):
    """A page in the default order."""


class CityQuery(PublisherQuery):
    """A query with a filter that has no condition."""

    city: str | None = None


class SearchQuery(ListQuery):
    """A query with the filter `q`, for a table without a search column."""

    sort: SortKeys[Literal["name"]] = ()


class AnyOrderQuery(PageQuery):
    """A query whose sort keys are not listed."""

    sort: SortKeys[str] = ()


class CityOrderQuery(PageQuery):
    """A query with a sort key that is not a column."""

    sort: SortKeys[Literal["city", "-city"]] = ()


class NullableOrderQuery(PageQuery):
    """A query with a sort key whose column may be NULL."""

    sort: SortKeys[Literal["publisher_id"]] = ()


def crud_endpoints(**changes: Any) -> CrudEndpoints[Any, Any, Any]:
    """Return valid endpoints of publishers, with some declarations replaced."""
    declarations: dict[str, Any] = {
        "noun": "publisher",
        "plural": "publishers",
        "service_class": PublisherService,
        "create_model": PublisherCreate,
        "update_model": PublisherUpdate,
        "read_model": PublisherRead,
        "query_model": PublisherQuery,
        "read_permission": "catalog:read",
        "write_permission": "catalog:write",
    }
    return CrudEndpoints(**{**declarations, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"create_model": LabelCreate}, "LabelCreate.label is not a column of library_publishers"),
        ({"update_model": LabelUpdate}, "LabelUpdate.label is not a column of library_publishers"),
        ({"read_model": IntegerKeyRead}, "CrudEndpoints need a UUID key, but IntegerKeyRead.id is"),
        ({"query_model": CityQuery}, "CityQuery.city is a filter without a condition. Add"),
        ({"query_model": SearchQuery}, "SearchQuery.q needs the column library_publishers.search"),
        ({"query_model": AnyOrderQuery}, "AnyOrderQuery.sort has to list its keys in a Literal"),
        ({"query_model": CityOrderQuery}, "CityOrderQuery.sort allows city, which is not a field"),
        (
            {
                "service_class": EditionService,
                "query_model": NullableOrderQuery,
                "create_model": LabelCreate,
            },
            "NullableOrderQuery.sort allows publisher_id, which may be NULL",
        ),
    ],
)
def test_models_that_do_not_fit_the_table_raise_type_error(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message.replace(".", r"\.")):
        crud_endpoints(**changes).add_to(Router(prefix="/publishers", tags=["publishers"]))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"query_model": QueryWithoutSort},
        {"service_class": ServiceWithOwnCreate, "create_model": LabelCreate},
    ],
)
def test_models_that_fit_the_table_add_endpoints_and_streams(changes: dict[str, Any]) -> None:
    router = Router(prefix="/publishers", tags=["publishers"])
    crud_endpoints(**changes).add_to(router)
    names = {route.name for route in router.routes}
    assert len(names) == len(router.routes) == 7
    assert {"download_publishers_csv", "download_publishers_ndjson"} < names


def test_deletes_many_adds_endpoint_that_deletes_several_items() -> None:
    router = Router(prefix="/publishers", tags=["publishers"])
    crud_endpoints(deletes_many=True).add_to(router)
    paths = [route.path_format for route in router.routes]
    assert len(paths) == 8
    assert "/publishers/deletions" in paths
