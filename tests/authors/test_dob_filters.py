"""Filters of authors by their date of birth, which may be unknown."""

from datetime import date
from itertools import product

import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.support.responses import check_parameter_error, get_json
from tests.support.rows import insert_rows
from tests.support.streamed_lists import read_json_lines

DATES_OF_BIRTH = {
    "a": None, "b": "1815-12-10", "c": "1926-05-12", "d": None, "e": "1926-05-13", "f": "1959-09-09"
}  # fmt: skip
FIRST_YEAR, LAST_YEAR = "0001-01-02", "9999-12-30"
# The query, and the names of the authors whom it finds.
FOUND_NAMES = [
    ("dob_from=1926-05-12", "cef"),
    ("dob_from=1926-05-13", "ef"),
    ("dob_to=1926-05-12", "b"),
    ("dob_to=1926-05-13", "bc"),
    ("dob_from=1926-01-01&dob_to=1927-01-01", "ce"),
    ("dob_from=1926-05-12&dob_to=1926-05-12", ""),
    ("dob_from=2000-01-01&dob_to=1900-01-01", ""),
    (f"dob_from={FIRST_YEAR}", "bcef"),
    (f"dob_to={LAST_YEAR}", "bcef"),
    ("dob_is_null=true", "ad"),
    ("dob_is_null=false", "bcef"),
    ("dob_is_null=true&dob_from=1900-01-01", ""),
    ("dob_is_null=false&dob_to=1900-01-01", "b"),
    ("dob_is_null=true&q=d", "d"),
]


@pytest.fixture
async def authors(database: Database) -> None:
    """Authors with the names and dates of birth in `DATES_OF_BIRTH`."""
    rows = [
        {
            "id": f"01890000-0000-7000-8000-{number:012}",
            "name": name,
            "dob": None if dob is None else date.fromisoformat(dob),
        }
        for number, (name, dob) in enumerate(DATES_OF_BIRTH.items())
    ]
    await insert_rows(database, "authors", rows)


@pytest.mark.usefixtures("authors")
async def test_dob_filters_find_the_same_authors_in_pages_and_streams(client: AsyncClient) -> None:
    for (query, names), sort in product(FOUND_NAMES, ("name", "-dob")):
        url = f"/authors?{query}&sort={sort}"
        page = await get_json(client, url)
        found_names = [author["name"] for author in page["items"]]
        assert (sorted(found_names), page["total"]) == (list(names), len(names)), url
        assert await read_json_lines(client, url) == page["items"], url


@pytest.mark.usefixtures("authors")
async def test_pages_of_one_row_continue_in_authors_with_and_without_dob(
    client: AsyncClient,
) -> None:
    for query, names in (
        ("dob_is_null=true&sort=dob", "ad"),
        ("dob_is_null=true&sort=-dob", "da"),
        ("dob_is_null=false&sort=-dob", "fecb"),
        ("dob_from=1900-01-01&sort=dob", "cef"),
    ):
        seen_names = ""
        next_cursor: str | None = ""
        while next_cursor is not None:
            cursor = f"&cursor={next_cursor}" if next_cursor else ""
            page = await get_json(client, f"/authors?{query}&size=1{cursor}")
            seen_names += "".join(author["name"] for author in page["items"])
            next_cursor = page["next"]
        assert seen_names == names, query


@pytest.mark.usefixtures("authors")
async def test_cursor_of_authors_without_dob_is_refused_for_authors_with_dob(
    client: AsyncClient,
) -> None:
    page = await get_json(client, "/authors?dob_is_null=true&size=1")
    response = await client.get(f"/authors?dob_is_null=false&size=1&cursor={page['next']}")
    check_parameter_error(response, "cursor")


@pytest.mark.usefixtures("authors")
async def test_estimated_total_accepts_every_dob_filter(client: AsyncClient) -> None:
    for query, _ in FOUND_NAMES:
        page = await get_json(client, f"/authors?{query}&count=estimated")
        assert page["total"] >= 0, query


async def test_invalid_dob_filter_returns_422(client: AsyncClient) -> None:
    for name in ("dob_from", "dob_to"):
        for value in ("", "1926", "1926-05", "1926-02-30", "1926-05-12T00:00:00Z", "infinity"):
            check_parameter_error(await client.get("/authors", params={name: value}), name)
    for value in ("", "TRUE", "1", "yes", "null", "t"):
        response = await client.get("/authors", params={"dob_is_null": value})
        assert check_parameter_error(response, "dob_is_null")["detail"] == "Must be true or false"
