"""Names of query parameters: those of arrays are accepted, and unknown ones are explained."""

from urllib.parse import urlencode

import pytest
from httpx import AsyncClient

from app.core.db import Database
from app.core.http._unknown_parameters import describe_unknown_parameter
from app.core.storage import Storage
from tests.support.app_clients import client_with_settings
from tests.support.responses import check_parameter_error, get_json, row_numbers

ALLOWED = ("page", "size", "cursor", "count", "sort", "q", "id", "created_from", "dob_from")
# fmt: off
SUGGESTIONS = {
    "size": [
        "limit", "per_page", "perPage", "page_size", "pageSize", "page[size]", "Size", "sizes",
        "size[]", "page.size",
    ],
    "page": ["offset", "skip", "page[number]", "page[]", "pagee", "pag", "PAGE", "page_number"],
    "cursor": ["after", "next", "starting_after", "cursors", "page_token"],
    "sort": ["order", "order_by", "orderBy", "ordering", "sortBy", "$orderby", "sorts"],
    "q": ["search", "query", "filter[q]"],
    "id": ["ids", "id__in", "id[a]", "id[-1]", "id[1000]", "id[][]"],
    "dob_from": ["dob_min", "dob__gte", "dob[gte]", "dobSince"],
    "created_from": [
        "created_at_gte", "created_after", "createdAt[gt]",
        "createdFrom", "created-from", "create_from", "created_form"],
}
ADVICE = {
    "cache buster": ["_", "_t", "t", "ts", "cb", "nocache", "no-cache", "_dc", "cacheBuster"],
    "tracking": ["utm_source", "utm_medium", "fbclid", "gclid", "msclkid", "_ga", "mc_eid"],
    "header Authorization": ["access_token", "api_key", "apikey", "token", "Authorization"],
    "JSONP": ["callback", "jsonp"],
}
# fmt: on
WITHOUT_ADVICE = ["zzz", "zone", "e\u0301", "x" * 41, "limit" * 2000]


@pytest.mark.parametrize(
    ("name", "known"), [(name, known) for known, names in SUGGESTIONS.items() for name in names]
)
def test_unknown_name_like_a_known_one_suggests_it(name: str, known: str) -> None:
    message = describe_unknown_parameter(name, ALLOWED)
    assert message == f"Unknown parameter. Did you mean `{known}`?"


@pytest.mark.parametrize(
    ("name", "advice"), [(name, advice) for advice, names in ADVICE.items() for name in names]
)
def test_unknown_name_with_a_known_purpose_gets_advice(name: str, advice: str) -> None:
    for allowed_names in (ALLOWED, ()):
        message = describe_unknown_parameter(name, allowed_names)
        assert message.startswith("Unknown parameter. ")
        assert advice in message


@pytest.mark.parametrize("name", WITHOUT_ADVICE)
def test_other_unknown_name_gets_no_advice(name: str) -> None:
    assert describe_unknown_parameter(name, ALLOWED) == "Unknown parameter"


async def test_advice_is_the_detail_of_the_error(client: AsyncClient) -> None:
    for name, part in (("_", "jQuery"), ("utm_source", "tracking"), ("limit", "`size`")):
        error = check_parameter_error(await client.get(f"/books?{name}=1699999999999"), name)
        assert error["code"] == "unknown_parameter"
        assert part in error["detail"]


async def test_only_the_first_of_many_unknown_names_are_explained(client: AsyncClient) -> None:
    # The comparison of names takes a while, so a client could occupy the server with it.
    query = "&".join(f"sorts{number}=x" for number in range(100))
    response = await client.get(f"/books?{query}")
    details = [error["detail"] for error in response.json()["errors"]]
    assert details == [
        *["Unknown parameter. Did you mean `sort`?"] * 10,
        *["Unknown parameter"] * 90,
    ]


@pytest.mark.parametrize("http_fast_path", [True, False])
async def test_array_notations_of_client_libraries_are_repeated_parameters(
    template_url: str,
    database: Database,
    storage: Storage,
    filled_tables: None,
    http_fast_path: bool,
) -> None:
    ids = [f"01890000-0000-7000-8000-{number:012}" for number in (30, 2, 57)]
    names_of_values = [
        ["id[]", "id[]", "id[]"],  # axios, jQuery, Rails
        ["id[0]", "id[1]", "id[2]"],  # qs, PHP
        ["id[2]", "id[0]", "id[1]"],
        ["id", "id[]", "id[7]"],
    ]
    options = {"http_fast_path": http_fast_path}
    async with client_with_settings(template_url, database, storage, **options) as client:
        for names in names_of_values:
            query = urlencode(list(zip(names, ids, strict=True)))
            for written_query in (query, query.replace("%5B", "[").replace("%5D", "]")):
                page = await get_json(client, f"/books?{written_query}&size=5")
                assert row_numbers(page) == [2, 30, 57], written_query


async def test_sort_keys_in_an_array_keep_the_order_of_their_indexes(
    client: AsyncClient, filled_tables: None
) -> None:
    expected = await get_json(client, "/books?sort=-updated_at,title&size=3")
    for query in (
        "sort[]=-updated_at&sort[]=title",
        "sort=-updated_at&sort=title",
        "sort[0]=-updated_at&sort[1]=title",
        "sort[1]=title&sort[0]=-updated_at",
        "sort[]=-updated_at,title",
        "sort%5b%5d=-updated_at&sort%5B%5D=title",
    ):
        page = await get_json(client, f"/books?{query}&size=3")
        assert page == expected, query


async def test_links_contain_the_plain_name_of_an_array(
    client: AsyncClient, filled_tables: None
) -> None:
    response = await client.get("/books?sort[]=-title&sort[]=created_at&size=1&count=none")
    assert (
        "</books?sort=-title&sort=created_at&size=1&count=none&page=1>" in response.headers["link"]
    )


async def test_error_of_a_value_in_an_array_names_the_parameter(client: AsyncClient) -> None:
    check_parameter_error(await client.get("/books?id[0]=7"), "id")


async def test_array_of_a_parameter_that_must_not_be_repeated_is_unknown(
    client: AsyncClient,
) -> None:
    for name in ("page[]", "size[0]", "q[]", "author_id[]"):
        error = check_parameter_error(await client.get(f"/books?{name}=1"), name)
        assert error["code"] == "unknown_parameter"
