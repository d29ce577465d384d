"""Filters of lists over HTTP, and invalid query parameters. `test_search.py` tests the search."""

from urllib.parse import urlencode

import pytest
from httpx import AsyncClient

from app.core.paging import PageQuery
from app.core.schemas import Flag
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import make_book
from tests.support.responses import check_parameter_error, get_json, row_numbers
from tests.support.rows import (
    AUTHOR_BOOKS_PATH,
    AUTHOR_ID,
    COLLECTION_PATHS,
    LIST_CASES,
    LIST_PATHS,
    SEARCH_WORDS,
)

every_list = pytest.mark.parametrize("path", LIST_PATHS)
every_list_with_ids = pytest.mark.parametrize(
    "path", [path for path in LIST_PATHS if LIST_CASES[path].has_id_filter]
)


@every_list_with_ids
async def test_repeated_id_filter_returns_rows_with_any_of_the_ids(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    ids = [("id", f"01890000-0000-7000-8000-{n:012}") for n in (30, 2, 2, 57, 999)]
    page = await get_json(client, f"{path}?{urlencode(ids)}")
    assert (row_numbers(page), page["total"]) == ([2, 30, 57], 3)


@every_list_with_ids
async def test_invalid_id_filter_returns_422(client: AsyncClient, path: str) -> None:
    for value in (
        "",
        "1",
        "x",
        f"{AUTHOR_ID}0",
        f"{{{AUTHOR_ID}}}",
        AUTHOR_ID[:-1] + "g",
        f"{AUTHOR_ID}\n",
    ):
        check_parameter_error(await client.get(path, params={"id": value}), "id")


@pytest.mark.parametrize("value", ["1", AUTHOR_ID])
async def test_id_filter_of_users_returns_422(client: AsyncClient, value: str) -> None:
    unknown_parameter = check_parameter_error(await client.get("/users?nonsense=1"), "nonsense")
    assert (
        check_parameter_error(await client.get(f"/users?id={value}"), "id")["code"]
        == unknown_parameter["code"]
    )


@every_list
@pytest.mark.parametrize(("name", "year"), [("created", 2026), ("updated", 2027)])
async def test_time_range_includes_start_and_excludes_end(
    client: AsyncClient, filled_tables: None, path: str, name: str, year: int
) -> None:
    start, end = f"{name}_from={year}-01-01T00:10:00", f"{name}_to={year}-01-01T00:20:00"
    for query, expected in (
        (f"{start}Z&{end}Z", range(10, 20)),
        (f"{start}Z", range(10, 58)),
        (f"{end}Z", range(1, 20)),
        (f"{start}.000001Z&{end}Z", range(11, 20)),
        (f"{start}Z&{end}.000001Z", range(10, 21)),
        (f"{start}Z&{name}_to={year}-01-01T00:10:00Z", range(0)),
        (f"{name}_from={year}-01-01T00:20:00Z&{name}_to={year}-01-01T00:10:00Z", range(0)),
    ):
        page = await get_json(client, f"{path}?size=100&{query}")
        assert (row_numbers(page), page["total"]) == (list(expected), len(expected)), query


@every_list
async def test_time_filter_accepts_any_utc_offset(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    for value in (
        "2026-01-01T00:55:00Z",
        "2026-01-01T00:55:00.000000Z",
        "2026-01-01T00:55:00%2B00:00",
        "2026-01-01T00:55:00-00:00",
        "2026-01-01T02:55:00%2B02:00",
        "2025-12-31T21:25:00-03:30",
        "2026-01-01t00:55:00z",
        "2026-01-01T00:55:00.0000000Z",  # .NET
        "2026-01-01T02:55:00.000000000%2B02:00",  # Go
    ):
        assert row_numbers(await get_json(client, f"{path}?created_from={value}")) == [
            55,
            56,
            57,
        ], value


@every_list
@pytest.mark.parametrize("name", ["created_from", "created_to", "updated_from", "updated_to"])
async def test_invalid_time_filter_returns_422(client: AsyncClient, path: str, name: str) -> None:
    for value in (
        "",
        "now",
        "infinity",
        "1767225600",
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00 00:00",  # a plus sign that is not encoded
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:61Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00,5Z",
        "2026-01-01T00:00:00.1e3Z",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00-00:60",
        "2026-01-01T00:00:00+0000",
        "2026-W01-1T00:00:00Z",
        "2026-001T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:60Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01T25:00:00Z",
        "20260101T000000Z",
        "2026-01-01T00:00:00Z\0",
        "2026-01-01T00:00:00Z\n",
        "\uff12\uff10\uff12\uff16-01-01T00:00:00Z",  # full-width digits
        "0001-01-01T00:00:00+23:59",  # before the earliest time in UTC
        "9999-12-31T23:59:59-23:59",
    ):
        check_parameter_error(await client.get(path, params={name: value}), name)


@every_list
@pytest.mark.parametrize(("name", "year"), [("created", 2026), ("updated", 2027)])
async def test_digits_after_microseconds_of_time_filter_are_dropped(
    client: AsyncClient, filled_tables: None, path: str, name: str, year: int
) -> None:
    start, end = f"{name}_from={year}-01-01T00:10:00", f"{name}_to={year}-01-01T00:20:00"
    for query, expected in (
        # Row 10 is a fraction of a microsecond before the start, and row 20 before the end.
        (f"{start}.0000009Z&{end}Z", range(10, 20)),
        (f"{start}Z&{end}.0000009Z", range(10, 20)),
        (f"{start}.0000019Z&{end}.0000019Z", range(11, 21)),
        (f"{start}.{'9' * 100}Z&{end}.{'0' * 100}Z", range(11, 20)),
    ):
        page = await get_json(client, f"{path}?size=100&{query}")
        assert row_numbers(page) == list(expected), query


async def test_adjacent_periods_with_nanoseconds_contain_each_row_once(
    client: AsyncClient, filled_tables: None
) -> None:
    boundary = "2026-01-01T00:10:00.000000999Z"
    before = await get_json(client, f"/authors?size=100&created_to={boundary}")
    after = await get_json(client, f"/authors?size=100&created_from={boundary}")
    assert row_numbers(before) + row_numbers(after) == list(range(1, 58))


async def test_leap_second_in_time_filter_is_the_start_of_the_next_minute(
    client: AsyncClient, filled_tables: None
) -> None:
    for leap_second in ("2025-12-31T23:59:60Z", "2026-01-01T01:59:60.5%2B02:00"):
        page = await get_json(client, f"/authors?size=100&created_from={leap_second}")
        assert page["total"] == 57, leap_second


async def test_unescaped_plus_in_time_filter_is_explained(client: AsyncClient) -> None:
    for query in ("2026-11-29T14:00:00+02:00", "2026-11-29T14:00:00.1234567%2002:00"):
        response = await client.get(f"/books?created_from={query}")
        error = check_parameter_error(response, "created_from")
        assert error["code"] == "unescaped_plus"
        assert "write %2B instead" in error["detail"]


@every_list
async def test_time_filter_accepts_earliest_and_latest_time(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    first, last = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z"
    for query, total in (
        (f"created_from={first}&updated_from={first}", 57),
        (f"created_to={last}&updated_to={last}", 57),
        (f"created_from={last}&updated_from={last}", 0),
        (f"created_to={first}&updated_to={first}", 0),
    ):
        assert (await get_json(client, f"{path}?{query}"))["total"] == total, query


async def test_author_filter_returns_only_books_of_author(client: AsyncClient) -> None:
    book = await make_book(client, "One")
    await make_book(client, "Two")
    page = await get_json(client, f"/books?author_id={book['author_id']}")
    assert (page["items"], page["total"]) == ([book], 1)


async def test_filter_by_unknown_author_returns_no_books(
    client: AsyncClient, filled_tables: None
) -> None:
    assert (await get_json(client, f"/books?author_id={UNKNOWN_ID}"))["total"] == 0


async def test_invalid_author_filter_returns_422(client: AsyncClient) -> None:
    for value in ("", "1", "null", "x" * 36):
        check_parameter_error(await client.get(f"/books?author_id={value}"), "author_id")


async def test_email_filter_ignores_case(client: AsyncClient, filled_tables: None) -> None:
    for email in ("Reader7@Example.com", "reader7@example.com", "READER7@EXAMPLE.COM"):
        page = await get_json(client, f"/users?email={email}")
        assert (row_numbers(page), page["total"]) == ([7], 1)


async def test_email_filter_does_not_match_part_of_email(
    client: AsyncClient, filled_tables: None
) -> None:
    for email in ("reader7", "reader7@example.co", "reader%25", "reader_@example.com", "'", "%20"):
        assert (await get_json(client, f"/users?email={email}"))["total"] == 0


async def test_invalid_email_filter_returns_422(client: AsyncClient) -> None:
    for email in ("", "x" * 255, "a%00b@example.com"):
        check_parameter_error(await client.get(f"/users?email={email}"), "email")


async def test_row_must_match_all_filters(client: AsyncClient, filled_tables: None) -> None:
    ids = "&".join(f"id=01890000-0000-7000-8000-{n:012}" for n in range(1, 31))
    times = "created_from=2026-01-01T00:05:00Z&created_to=2026-01-01T00:50:00Z"
    times += "&updated_from=2027-01-01T00:10:00Z&updated_to=2027-01-01T00:13:00Z"
    page = await get_json(
        client, f"/books?{ids}&{times}&q=title&author_id={AUTHOR_ID}&sort=-created_at"
    )
    assert (row_numbers(page), page["total"]) == ([12, 11, 10], 3)


class NullQuery(PageQuery):
    """The two filters by NULL of a column, of which a query model has one."""

    dob_is_null: Flag | None = None
    dob_is_not_null: Flag | None = None


def test_filter_by_null_that_is_false_has_the_opposite_condition() -> None:
    for name, value, condition in (
        ("dob_is_null", "true", "dob_is_null"),
        ("dob_is_null", "false", "dob_is_not_null"),
        ("dob_is_not_null", "true", "dob_is_not_null"),
        ("dob_is_not_null", "false", "dob_is_null"),
    ):
        query = NullQuery.model_validate({name: value})
        assert [*query.requested_filters()] == [condition], (name, value)


# Invalid parameters


@every_list
async def test_unknown_parameter_returns_422(client: AsyncClient, path: str) -> None:
    for name in (
        "limit",
        "offset",
        "Page",
        "page ",
        "search",
        "name",
        "password_hash",
        "page[]",
        "",
    ):
        check_parameter_error(await client.get(path, params={name: "1"}), name)


async def test_filter_of_another_list_returns_422(client: AsyncClient) -> None:
    for path, name in (
        ("/authors", "author_id"),
        ("/users", "author_id"),
        ("/documents", "id"),
        ("/documents", "filename"),
        (AUTHOR_BOOKS_PATH, "author_id"),
        ("/books", "email"),
    ):
        check_parameter_error(await client.get(path, params={name: AUTHOR_ID}), name)


SINGLE_VALUE_PARAMETERS = {
    "page": "1",
    "size": "20",
    "cursor": "x",
    "count": "none",
    "created_from": "2026-01-01T00:00:00Z",
    "created_to": "2026-01-01T00:00:00Z",
    "updated_from": "2026-01-01T00:00:00Z",
    "updated_to": "2026-01-01T00:00:00Z",
}


@every_list
async def test_repeated_parameter_returns_422(client: AsyncClient, path: str) -> None:
    # The list of an author's books does not have the filters of the list of books.
    filters = LIST_CASES[path].filters if path in COLLECTION_PATHS else {}
    searches = {"q": "x"} if path in SEARCH_WORDS else {}
    for name, value in (SINGLE_VALUE_PARAMETERS | searches | filters).items():
        check_parameter_error(await client.get(f"{path}?{name}={value}&{name}={value}"), name)


@every_list
@pytest.mark.parametrize("name", ["page", "size"])
async def test_integer_in_unusual_notation_returns_422(
    client: AsyncClient, path: str, name: str
) -> None:
    for value in ("+1", "01", "1_0", " 1", "1 ", "1\n", "1.0", "1e1", "0x1", "-0", "", "one"):
        check_parameter_error(await client.get(path, params={name: value}), name)
    for value in ("\uff11", "\u0663", "\u00b2"):  # digits of other scripts
        check_parameter_error(await client.get(path, params={name: value}), name)


@every_list
async def test_unknown_count_mode_returns_422(client: AsyncClient, path: str) -> None:
    for value in ("", "Exact", "exact,none", "true", "0"):
        check_parameter_error(await client.get(path, params={"count": value}), "count")
