"""The URLs of streams, such as /books.csv: their parameters, headers and OpenAPI operations."""

import csv
from io import StringIO

import pytest
from httpx import AsyncClient

from app.books.schemas import BookRead
from app.books.service import BookService
from app.core.db import Database
from app.core.http import Router, StreamEndpoints
from app.core.paging import ListQuery
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import Json, make_author, make_book
from tests.support.problems import check_problem, field_error_locations
from tests.support.responses import COMMON_RESPONSE_HEADERS
from tests.support.rows import LIST_PATHS, fill_tables
from tests.support.streamed_lists import (
    CONTENT_TYPES,
    CSV,
    NDJSON,
    STREAMED_PATHS,
    get_stream,
    read_csv,
    read_json_lines,
    stream_url,
)

every_list = pytest.mark.parametrize("path", STREAMED_PATHS)
every_extension = pytest.mark.parametrize("extension", CONTENT_TYPES)


@every_list
@every_extension
async def test_stream_has_media_type_and_file_name_and_is_private(
    client: AsyncClient, path: str, extension: str
) -> None:
    headers = (await get_stream(client, path, extension)).headers
    assert headers["content-type"] == CONTENT_TYPES[extension]
    file_name = f"{path.removeprefix('/')}.{extension}"
    assert headers["content-disposition"] == f'attachment; filename="{file_name}"'
    assert headers["cache-control"] == "private, no-cache"
    assert "vary" not in headers
    assert headers["x-request-id"]


@every_extension
async def test_path_of_stream_may_end_with_slash_or_be_percent_encoded(
    client: AsyncClient, extension: str
) -> None:
    for path in (f"/books.{extension}/", f"/books%2E{extension}"):
        response = await client.get(path)
        assert response.headers["content-type"] == CONTENT_TYPES[extension]


@pytest.mark.parametrize("path", LIST_PATHS)
@pytest.mark.parametrize(
    "accept", ["text/csv", "application/x-ndjson", "text/*;q=0.9, application/json;q=0", "x"]
)
async def test_list_returns_page_for_any_accept(
    client: AsyncClient, database: Database, path: str, accept: str
) -> None:
    await fill_tables(database, 1)
    response = await client.get(path, headers={"Accept": accept})
    assert response.headers["content-type"] == "application/json"
    assert "vary" not in response.headers
    assert response.json()["total"] == 1


@every_list
@every_extension
@pytest.mark.parametrize("parameter", ["page=1", "size=20", "cursor=x", "cursor=", "count=none"])
async def test_stream_with_page_parameter_returns_422_that_says_why(
    client: AsyncClient, path: str, extension: str, parameter: str
) -> None:
    response = await get_stream(client, f"{path}?{parameter}", extension)
    check_problem(response, 422, "invalid-request")
    [error] = response.json()["errors"]
    assert (error["parameter"], error["code"]) == (parameter.partition("=")[0], "no_pages")
    assert error["detail"].startswith("Must not be sent, because the response contains the whole")


async def test_stream_with_several_page_parameters_reports_each(client: AsyncClient) -> None:
    response = await get_stream(client, "/books?size=5&page=1&count=exact&cursor=x&q=x")
    locations = field_error_locations(response)
    assert sorted(location["parameter"] for location in locations) == [
        *("count", "cursor", "page", "size")
    ]


@every_list
@every_extension
@pytest.mark.parametrize(
    "query", ["x=1", "sort=version", "sort=id", "q=", "id=x", "created_from=today", "q=a&q=b"]
)
async def test_invalid_query_returns_same_errors_for_stream_and_page(
    client: AsyncClient, path: str, extension: str, query: str
) -> None:
    page = await client.get(f"{path}?{query}")
    response = await get_stream(client, f"{path}?{query}", extension)
    assert response.status_code == page.status_code == 422
    assert response.json()["errors"] == page.json()["errors"]


@every_list
@every_extension
async def test_head_of_stream_returns_headers_without_query(
    client: AsyncClient, database: Database, statements: list[str], path: str, extension: str
) -> None:
    await fill_tables(database, 3)
    get_response = await get_stream(client, path, extension)
    statements.clear()
    response = await client.head(stream_url(path, extension))
    assert (response.status_code, response.content) == (200, b"")
    assert {*response.headers} == {*get_response.headers}
    for name in ("content-type", "content-disposition"):
        assert response.headers[name] == get_response.headers[name]
    assert statements == []


@every_extension
async def test_head_of_stream_rejects_what_get_rejects(client: AsyncClient, extension: str) -> None:
    response = await client.head(f"/books.{extension}?page=1")
    assert response.status_code == 422


# Paths that do not exist


@pytest.mark.parametrize(
    "path",
    [
        "/books.json",
        "/books.xlsx",
        "/books.CSV",
        "/books.csv.gz",
        "/Books",
        "/books.",
        "/books%2Ejson",
    ],
)
async def test_similar_path_returns_404_that_names_list_and_streams(
    client: AsyncClient, path: str
) -> None:
    response = await client.get(path)
    check_problem(response, 404, "not-found")
    question = "Did you mean /books, /books.csv or /books.ndjson?"
    assert response.json()["detail"] == f"The resource does not exist. {question}"


@pytest.mark.parametrize("path", ["/documents.csv", "/users.xml", "/USERS"])
async def test_similar_path_returns_404_that_names_list_without_streams(
    client: AsyncClient, path: str
) -> None:
    detail = (await client.get(path)).json()["detail"]
    list_path = path.lower().partition(".")[0]
    assert detail == f"The resource does not exist. Did you mean {list_path}?"


@pytest.mark.parametrize("path", ["/book.csv", f"/books/{UNKNOWN_ID}/x.csv", "/x/books.csv"])
async def test_path_unlike_others_returns_404_without_question(
    client: AsyncClient, path: str
) -> None:
    response = await client.get(path)
    assert response.json()["detail"] == "The resource does not exist"


async def test_path_of_stream_does_not_match_path_of_item(client: AsyncClient) -> None:
    assert (await client.get("/books/.csv")).status_code == 422
    response = await client.post("/books.csv", json={})
    check_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "GET, HEAD, OPTIONS"


# Options of CSV files


async def test_bom_begins_csv_file_with_byte_order_mark(client: AsyncClient) -> None:
    await make_author(client, name="Зоя")
    plain = (await client.get("/authors.csv")).content
    for value in ("true", "True"):
        response = await client.get(f"/authors.csv?bom={value}&q=зоя")
        assert response.content == b"\xef\xbb\xbf" + plain
    assert (await client.get("/authors.csv?bom=false")).content == plain
    empty = await client.get("/books.csv?bom=true")
    assert empty.content.startswith(b"\xef\xbb\xbfid,title,")


@pytest.mark.parametrize("value", ["1", "yes", "", "TRUE", "true&bom=true"])
async def test_invalid_bom_returns_422(client: AsyncClient, value: str) -> None:
    response = await client.get(f"/books.csv?bom={value}")
    assert field_error_locations(response) == [{"parameter": "bom"}]


@pytest.mark.parametrize("option", ["bom", "escape_formulas"])
async def test_option_of_csv_is_unknown_to_json_lines_and_pages(
    client: AsyncClient, option: str
) -> None:
    for path in ("/books.ndjson", "/books"):
        response = await client.get(f"{path}?{option}=true")
        assert response.json()["errors"][0]["code"] == "unknown_parameter"


async def test_formulas_are_escaped_only_on_request(client: AsyncClient) -> None:
    titles = ["=1+1", "+1", "-1", "@SUM(1)", "\tx", "\rx", "\nx", "'=1", "a=b", " =1"]
    author = await make_author(client, name="=HYPERLINK(1)")
    for title in titles:
        await make_book(client, title, author["id"])
    _, *exact_rows = await read_csv(client, "/books")
    assert [row[1] for row in exact_rows] == titles
    response = await client.get("/books.csv?escape_formulas=true")
    rows = list(csv.DictReader(StringIO(response.text, newline="")))
    assert [row["title"] for row in rows] == [
        *("'=1+1", "'+1", "'-1", "'@SUM(1)", "'\tx", "'\rx", "'\nx", "'=1", "a=b", " =1")
    ]
    assert {row["author_name"] for row in rows} == {"'=HYPERLINK(1)"}
    assert [row["title"] for row in await read_json_lines(client, "/books")] == titles


class EngineQuery(ListQuery):
    """A query with a filter that has the name of an option of CSV files."""

    bom: str | None = None


def test_filter_with_name_of_csv_option_raises_type_error() -> None:
    endpoints = StreamEndpoints(
        plural="engines",
        create_service=BookService,
        item_model=BookRead,
        query_model=EngineQuery,
        permission="catalog:read",
    )
    message = r"EngineQuery\.bom is an option of CSV files\. Rename it\."
    with pytest.raises(TypeError, match=message):
        endpoints.add_to(Router(tags=["engines"]), "/engines")


# OpenAPI


@every_list
@every_extension
async def test_openapi_documents_stream(
    client: AsyncClient, document: Json, path: str, extension: str
) -> None:
    operation = document["paths"][stream_url(path, extension)]["get"]
    documented = operation["responses"]["200"]
    response = await get_stream(client, path, extension)
    assert [*documented["content"]] == [response.headers["content-type"].partition(";")[0]]
    undocumented = {*response.headers} - {name.lower() for name in documented["headers"]}
    assert undocumented <= COMMON_RESPONSE_HEADERS
    assert {"429", "503"} <= operation["responses"].keys()


@every_list
async def test_stream_has_documented_parameters_of_list_except_pages(
    document: Json, path: str
) -> None:
    def parameters(extended_path: str) -> dict[str, Json]:
        operation = document["paths"][extended_path]["get"]
        return {parameter["name"]: parameter for parameter in operation["parameters"]}

    list_parameters = parameters(path)
    for name in ("page", "size", "cursor", "count"):
        del list_parameters[name]
    assert parameters(stream_url(path, NDJSON)) == list_parameters
    csv_parameters = parameters(stream_url(path, CSV))
    for name in ("bom", "escape_formulas"):
        schema = csv_parameters.pop(name)["schema"]
        assert (schema["type"], schema["default"]) == ("boolean", False)
    assert csv_parameters == list_parameters


@every_list
async def test_stream_accepts_documented_defaults(
    client: AsyncClient, document: Json, path: str
) -> None:
    parameters = document["paths"][stream_url(path, CSV)]["get"]["parameters"]
    defaults = {p["name"]: p["schema"]["default"] for p in parameters if "default" in p["schema"]}
    response = await client.get(stream_url(path, CSV), params=defaults)
    assert response.status_code == 200
