"""Checks and reads the responses of lists."""

import re
from urllib.parse import parse_qsl, urlsplit

from httpx import AsyncClient, Response

from tests.support.factories import Json

# The headers that every response with a body has.
COMMON_RESPONSE_HEADERS = {
    "content-type",
    "content-length",
    "content-security-policy",
    "referrer-policy",
    # Errors of GET requests depend on Accept, which only caches need to know.
    "vary",
    "x-content-type-options",
}


async def get_json(client: AsyncClient, url: str) -> Json:
    """Get a URL, check that the status is 200, and return the JSON object in the response."""
    response = await client.get(url)
    assert response.status_code == 200, f"{url}: {response.text}"
    body: Json = response.json()
    return body


# The fields of every page of a list, in the order of the JSON.
PAGE_FIELDS = ["items", "total", "total_at_least", "page", "size", "pages", "next"]


def empty_page(**fields: int) -> Json:
    """Return the JSON of a page without items and without a next page."""
    return {"items": [], "total_at_least": None, "next": None, **fields}


def row_numbers(page: Json) -> list[int]:
    """Return the number of each row of a page that `rows.fill_tables` inserted.

    Row n was created n minutes after midnight: the number of a row that was created at
    2026-01-01T01:05:00Z is 65.
    """
    numbers = []
    for item in page["items"]:
        _date, hour, minute, *_ = re.split("[T:Z]", item["created_at"])
        numbers.append(int(hour) * 60 + int(minute))
    return numbers


def check_parameter_error(response: Response, parameter: str) -> Json:
    """Check that a 422 response has one field error, about this parameter. Return the error."""
    assert response.status_code == 422, f"{response.url}: {response.text}"
    problem = response.json()
    assert problem["type"] == "urn:problem-type:bookshelf:invalid-request"
    parameters = [error.get("parameter") for error in problem["errors"]]
    assert parameters == [parameter], f"{response.url}: {response.text}"
    field_error: Json = problem["errors"][0]
    return field_error


def parse_link_header(response: Response) -> dict[str, str]:
    """Return the target of each relation in the `Link` header: `{"next": "/books?page=2"}`."""
    header = response.headers["link"]
    links: list[tuple[str, str]] = re.findall(r'<([^<>\s]*)>; rel="(\w+)"(?:, |$)', header)
    # The header contains nothing else.
    assert header == ", ".join(f'<{target}>; rel="{relation}"' for target, relation in links)
    return {relation: target for target, relation in links}


def query_parameters(target: str) -> list[tuple[str, str]]:
    """Return the names and values of the query parameters of a URL."""
    return parse_qsl(urlsplit(target).query, keep_blank_values=True)


def page_or_cursor(target: str) -> dict[str, str]:
    """Return the query parameter of a URL that selects the page: `{"page": "2"}` or a cursor."""
    return {name: value for name, value in query_parameters(target) if name in {"page", "cursor"}}
