"""The choice between a page and a stream by the Accept header (RFC 9110, section 12.5.1)."""

import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.support.factories import Json
from tests.support.problems import field_error_locations
from tests.support.responses import COMMON_RESPONSE_HEADERS
from tests.support.rows import LIST_PATHS, fill_tables
from tests.support.streamed_lists import CSV, CSV_TYPE, NDJSON, STREAMED_PATHS, get_stream

every_stream = pytest.mark.parametrize("path", STREAMED_PATHS)
every_stream_type = pytest.mark.parametrize("accept", [NDJSON, CSV])

MEDIA_TYPE_BY_ACCEPT = {
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
ACCEPT_FOR_PAGE = [
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
MALFORMED_QUALITIES = (
    "high",
    "",
    "nan",
    "inf",
    "2",
    "1.001",
    "-1",
    "-0",
    "0.1234",
    "1e0",
    "0_1",
    "+1",
    ".5",
)


@every_stream
@pytest.mark.parametrize(("accept", "kind"), MEDIA_TYPE_BY_ACCEPT.items())
async def test_accept_that_prefers_lines_returns_stream(
    client: AsyncClient, path: str, accept: str, kind: str
) -> None:
    response = await get_stream(client, path, accept)
    assert (response.status_code, response.headers["content-type"]) == (200, kind)


@every_stream
@pytest.mark.parametrize("accept", ACCEPT_FOR_PAGE)
async def test_accept_that_does_not_prefer_lines_returns_page(
    client: AsyncClient, path: str, accept: str
) -> None:
    response = await get_stream(client, path, accept)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.json()["page"] == 1


@pytest.mark.parametrize("quality", MALFORMED_QUALITIES)
@pytest.mark.parametrize("kind", [NDJSON, CSV, "application/json", "text/*", "*/*"])
async def test_media_range_with_invalid_quality_is_ignored(
    client: AsyncClient, kind: str, quality: str
) -> None:
    response = await get_stream(client, "/books", f"{kind};q={quality}")
    assert response.headers["content-type"] == "application/json"


async def test_request_without_accept_returns_page(client: AsyncClient) -> None:
    request = client.build_request("GET", "/books")
    del request.headers["accept"]
    response = await client.send(request)
    assert response.headers["content-type"] == "application/json"


async def test_repeated_accept_headers_are_combined(client: AsyncClient) -> None:
    headers = [("Accept", "application/json;q=0.1"), ("Accept", CSV), ("Accept", "*/*;q=0.2")]
    response = await client.get("/books", headers=headers)
    assert response.headers["content-type"] == CSV_TYPE


async def test_too_long_accept_is_ignored(client: AsyncClient) -> None:
    for length, kind in (
        (8000, CSV_TYPE),
        (8200, "application/json"),
        (60_000, "application/json"),
    ):
        response = await get_stream(client, "/books", f"{CSV}, {'x' * length}"[:length])
        assert response.headers["content-type"] == kind


@every_stream
@pytest.mark.parametrize("accept", [NDJSON, CSV, "application/json"])
async def test_page_and_stream_vary_by_accept_and_are_private(
    client: AsyncClient, path: str, accept: str
) -> None:
    headers = (await get_stream(client, path, accept)).headers
    assert (headers["vary"], headers["cache-control"]) == ("Accept", "private, no-cache")
    assert headers["x-request-id"]


@every_stream_type
@pytest.mark.parametrize("path", [path for path in LIST_PATHS if path not in STREAMED_PATHS])
async def test_other_lists_return_page_for_any_accept(
    client: AsyncClient, database: Database, path: str, accept: str
) -> None:
    await fill_tables(database, 1)
    response = await get_stream(client, path, accept)
    assert response.headers["content-type"] == "application/json"
    assert "vary" not in response.headers
    assert response.json()["total"] == 1


@every_stream
@every_stream_type
@pytest.mark.parametrize("parameter", ["page=1", "size=20", "cursor=x", "count=none"])
async def test_stream_with_page_parameter_returns_422(
    client: AsyncClient, path: str, accept: str, parameter: str
) -> None:
    response = await get_stream(client, f"{path}?{parameter}", accept)
    assert field_error_locations(response) == [{"parameter": parameter.partition("=")[0]}]


async def test_stream_with_several_page_parameters_reports_each(client: AsyncClient) -> None:
    response = await get_stream(client, "/books?size=5&page=1&count=exact&cursor=x&q=x")
    expected = [{"parameter": name} for name in ("count", "cursor", "page", "size")]
    assert field_error_locations(response) == expected


@every_stream
@every_stream_type
@pytest.mark.parametrize(
    "query", ["x=1", "sort=version", "sort=id", "q=", "id=x", "created_from=today", "q=a&q=b"]
)
async def test_invalid_query_returns_same_errors_for_stream_and_page(
    client: AsyncClient, path: str, accept: str, query: str
) -> None:
    page, response = (
        await client.get(f"{path}?{query}"),
        await get_stream(client, f"{path}?{query}", accept),
    )
    assert field_error_locations(response) == field_error_locations(page)


@every_stream
@pytest.mark.parametrize(("accept", "kind"), [(NDJSON, NDJSON), (CSV, CSV_TYPE)])
async def test_head_of_stream_returns_headers_without_query(
    client: AsyncClient,
    database: Database,
    statements: list[str],
    path: str,
    accept: str,
    kind: str,
) -> None:
    await fill_tables(database, 3)
    get_response = await get_stream(client, path, accept)
    statements.clear()
    response = await client.head(path, headers={"Accept": accept})
    assert (response.status_code, response.headers["content-type"], response.content) == (
        200,
        kind,
        b"",
    )
    assert {*response.headers} == {*get_response.headers}
    assert statements == []


@every_stream_type
async def test_head_of_stream_rejects_what_get_rejects(client: AsyncClient, accept: str) -> None:
    response = await client.head("/books?page=1", headers={"Accept": accept})
    assert response.status_code == 422


@every_stream
async def test_openapi_documents_page_and_streams(
    client: AsyncClient, document: Json, path: str
) -> None:
    documented = document["paths"][path]["get"]["responses"]["200"]
    assert {*documented["content"]} == {"application/json", NDJSON, CSV}
    for accept in documented["content"]:
        response = await get_stream(client, path, accept)
        assert response.headers["content-type"].partition(";")[0] == accept
        undocumented = {*response.headers} - {name.lower() for name in documented["headers"]}
        assert undocumented <= COMMON_RESPONSE_HEADERS


@every_stream
async def test_stream_accepts_documented_defaults(
    client: AsyncClient, document: Json, path: str
) -> None:
    parameters = document["paths"][path]["get"]["parameters"]
    defaults = {p["name"]: p["schema"]["default"] for p in parameters if "default" in p["schema"]}
    response = await client.get(path, params=defaults, headers={"Accept": CSV})
    assert response.status_code == 200
