"""Who gets lines and who a page: `Accept` (RFC 9110, section 12.5.1), and what goes with it."""

import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.support.problems import field_error_locations
from tests.support.responses import COMMON_RESPONSE_HEADERS
from tests.support.rows import LIST_PATHS, fill_tables
from tests.support.streamed_lists import CSV, CSV_TYPE, NDJSON, STREAMED_PATHS, get_stream

every_stream = pytest.mark.parametrize("path", STREAMED_PATHS)
every_form = pytest.mark.parametrize("accept", [NDJSON, CSV])

AS_LINES = {
    NDJSON: NDJSON,
    CSV: CSV_TYPE,
    "Application/X-NDJSON": NDJSON,
    "TEXT/CSV;Q=0.5": CSV_TYPE,
    "text/csv; charset=utf-8": CSV_TYPE,
    "text/csv;header=present;q=0.001": CSV_TYPE,
    "text/csv ; q=1.000": CSV_TYPE,
    " ,, text/csv,": CSV_TYPE,
    "text/*": CSV_TYPE,
    "text/csv, application/json;q=0.9": CSV_TYPE,
    "text/csv;q=0.5, application/x-ndjson;q=0.6": NDJSON,
    "application/x-ndjson;q=0.5, text/csv;q=0.6": CSV_TYPE,
    "application/x-ndjson, text/csv": NDJSON,
    "text/csv, */*;q=0.1": CSV_TYPE,
    "application/*;q=0.5, application/x-ndjson": NDJSON,
    "application/json;q=0, */*": NDJSON,
    "image/png, text/csv;q=0.1": CSV_TYPE,
}
AS_A_PAGE = [
    "",
    "*/*",
    "application/json",
    "application/*",
    "application/x-ndjson, text/csv, application/json",
    "text/csv, */*",
    "text/csv;q=0.5, application/json;q=0.5",
    "text/csv;q=0.5, application/json;q=0.501",
    "text/csv;q=0",
    "text/csv;q=0.000, text/*",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",  # a browser
    "image/png",
    "application/ndjson",
    "text/csvs",
    "csv",
    "*",
    ";",
]
MALFORMED = ("high", "", "nan", "inf", "2", "1.001", "-1", "-0", "0.1234", "1e0", "0_1", "+1", ".5")


@every_stream
@pytest.mark.parametrize(("accept", "kind"), AS_LINES.items())
async def test_who_prefers_lines_gets_them(
    client: AsyncClient, path: str, accept: str, kind: str
) -> None:
    answer = await get_stream(client, path, accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)


@every_stream
@pytest.mark.parametrize("accept", AS_A_PAGE)
async def test_who_does_not_gets_a_page(client: AsyncClient, path: str, accept: str) -> None:
    answer = await get_stream(client, path, accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json()["page"] == 1


@pytest.mark.parametrize("quality", MALFORMED)
@pytest.mark.parametrize("kind", [NDJSON, CSV, "application/json", "text/*", "*/*"])
async def test_a_range_whose_quality_is_none_counts_for_nothing(
    client: AsyncClient, kind: str, quality: str
) -> None:
    answer = await get_stream(client, "/books", f"{kind};q={quality}")
    assert answer.headers["content-type"] == "application/json"


async def test_who_says_nothing_gets_a_page(client: AsyncClient) -> None:
    request = client.build_request("GET", "/books")
    del request.headers["accept"]
    answer = await client.send(request)
    assert answer.headers["content-type"] == "application/json"


async def test_several_lines_of_accept_are_one_list(client: AsyncClient) -> None:
    given = [("Accept", "application/json;q=0.1"), ("Accept", CSV), ("Accept", "*/*;q=0.2")]
    answer = await client.get("/books", headers=given)
    assert answer.headers["content-type"] == CSV_TYPE


async def test_an_accept_longer_than_proxies_allow_is_not_read(client: AsyncClient) -> None:
    for length, kind in (
        (8000, CSV_TYPE),
        (8200, "application/json"),
        (60_000, "application/json"),
    ):
        answer = await get_stream(client, "/books", f"{CSV}, {'x' * length}"[:length])
        assert answer.headers["content-type"] == kind


@every_stream
@pytest.mark.parametrize("accept", [NDJSON, CSV, "application/json"])
async def test_every_form_says_that_it_varies_and_is_for_this_reader(
    client: AsyncClient, path: str, accept: str
) -> None:
    headers = (await get_stream(client, path, accept)).headers
    assert (headers["vary"], headers["cache-control"]) == ("Accept", "private, no-cache")
    assert headers["x-request-id"]


@every_form
@pytest.mark.parametrize("path", [path for path in LIST_PATHS if path not in STREAMED_PATHS])
async def test_other_lists_have_pages_only(
    client: AsyncClient, database: Database, path: str, accept: str
) -> None:
    await fill_tables(database, 1)
    answer = await get_stream(client, path, accept)
    assert answer.headers["content-type"] == "application/json"
    assert "vary" not in answer.headers
    assert answer.json()["total"] == 1


@every_stream
@every_form
@pytest.mark.parametrize("parameter", ["page=1", "size=20", "cursor=x", "count=none"])
async def test_lines_have_no_pages(
    client: AsyncClient, path: str, accept: str, parameter: str
) -> None:
    answer = await get_stream(client, f"{path}?{parameter}", accept)
    assert field_error_locations(answer) == [{"parameter": parameter.partition("=")[0]}]


async def test_every_parameter_of_a_page_is_named(client: AsyncClient) -> None:
    answer = await get_stream(client, "/books?size=5&page=1&count=exact&cursor=x&q=x")
    expected = [{"parameter": name} for name in ("count", "cursor", "page", "size")]
    assert field_error_locations(answer) == expected


@every_stream
@every_form
@pytest.mark.parametrize(
    "query", ["x=1", "sort=version", "sort=id", "q=", "id=x", "created_from=today", "q=a&q=b"]
)
async def test_what_is_wrong_with_a_page_is_wrong_with_lines(
    client: AsyncClient, path: str, accept: str, query: str
) -> None:
    page, answer = (
        await client.get(f"{path}?{query}"),
        await get_stream(client, f"{path}?{query}", accept),
    )
    assert field_error_locations(answer) == field_error_locations(page)


@every_stream
@pytest.mark.parametrize(("accept", "kind"), [(NDJSON, NDJSON), (CSV, CSV_TYPE)])
async def test_head_has_the_headers_of_lines_and_asks_the_database_nothing(
    client: AsyncClient,
    database: Database,
    statements: list[str],
    path: str,
    accept: str,
    kind: str,
) -> None:
    await fill_tables(database, 3)
    got = await get_stream(client, path, accept)
    statements.clear()
    answer = await client.head(path, headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, kind, b"")
    assert {*answer.headers} == {*got.headers}
    assert statements == []


@every_form
async def test_head_refuses_what_get_refuses(client: AsyncClient, accept: str) -> None:
    answer = await client.head("/books?page=1", headers={"Accept": accept})
    assert answer.status_code == 422


@every_stream
async def test_the_document_knows_every_form_and_its_headers(
    client: AsyncClient, path: str
) -> None:
    document = (await client.get("/openapi.json")).json()
    known = document["paths"][path]["get"]["responses"]["200"]
    assert {*known["content"]} == {"application/json", NDJSON, CSV}
    for accept in known["content"]:
        answer = await get_stream(client, path, accept)
        assert answer.headers["content-type"].partition(";")[0] == accept
        unknown = {*answer.headers} - {name.lower() for name in known["headers"]}
        assert unknown <= COMMON_RESPONSE_HEADERS


@every_stream
async def test_whoever_fills_in_the_documents_defaults_gets_lines(
    client: AsyncClient, path: str
) -> None:
    parameters = (await client.get("/openapi.json")).json()["paths"][path]["get"]["parameters"]
    defaults = {p["name"]: p["schema"]["default"] for p in parameters if "default" in p["schema"]}
    answer = await client.get(path, params=defaults, headers={"Accept": CSV})
    assert answer.status_code == 200
