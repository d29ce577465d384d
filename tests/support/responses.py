"""What lists answer, checked and taken apart."""

import re
from urllib.parse import parse_qsl, urlsplit

from httpx import AsyncClient, Response

from tests.support.factories import Json

# Of the message itself, and for browsers only.
COMMON_RESPONSE_HEADERS = {
    *("content-type", "content-length"),
    *("content-security-policy", "referrer-policy", "x-content-type-options"),
}


async def get_json(client: AsyncClient, url: str) -> Json:
    """The content of an answer that is 200."""
    answer = await client.get(url)
    assert answer.status_code == 200, f"{url}: {answer.text}"
    body: Json = answer.json()
    return body


def row_numbers(page: Json) -> list[int]:
    """The n of each row that `rows.fill` made, from its creation time."""
    times = [re.split("[T:Z]", item["created_at"]) for item in page["items"]]
    return [int(hour) * 60 + int(minute) for _, hour, minute, *_ in times]


def check_parameter_error(answer: Response, parameter: str) -> Json:
    """The one fault of a 422, which is this parameter's."""
    assert answer.status_code == 422, f"{answer.url}: {answer.text}"
    problem = answer.json()
    assert problem["type"] == "urn:problem-type:bookshelf:invalid-request"
    places = [fault.get("parameter") for fault in problem["errors"]]
    assert places == [parameter], f"{answer.url}: {answer.text}"
    fault: Json = problem["errors"][0]
    return fault


def parse_link_header(answer: Response) -> dict[str, str]:
    """The targets of the `Link` header by relation; the header is nothing but them."""
    header = answer.headers["link"]
    found: list[tuple[str, str]] = re.findall(r'<([^<>\s]*)>; rel="(\w+)"(?:, |$)', header)
    assert header == ", ".join(f'<{target}>; rel="{relation}"' for target, relation in found)
    return {relation: target for target, relation in found}


def query_parameters(target: str) -> list[tuple[str, str]]:
    """The query of a link."""
    return parse_qsl(urlsplit(target).query, keep_blank_values=True)


def page_or_cursor(target: str) -> dict[str, str]:
    """The page or cursor of a link."""
    return {name: value for name, value in query_parameters(target) if name in {"page", "cursor"}}
