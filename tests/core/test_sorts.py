"""Sort orders of lists over HTTP."""

from datetime import date
from typing import Any
from uuid import UUID

import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.support.factories import make_author
from tests.support.responses import check_parameter_error, get_json, row_numbers
from tests.support.rows import AUTHOR_ID, LIST_PATHS, SORT_KEYS, insert_rows

every_list = pytest.mark.parametrize("path", LIST_PATHS)


@every_list
async def test_list_can_be_sorted_by_every_key_in_both_directions(
    client: AsyncClient, filled_tables: None, path: str
) -> None:
    for key in SORT_KEYS[path]:
        ascending = (await get_json(client, f"{path}?size=100&sort={key}"))["items"]
        descending = (await get_json(client, f"{path}?size=100&sort=-{key}"))["items"]
        values = [item[key] for item in ascending]
        assert (values, len(values)) == (sorted(values), 57)
        assert descending == ascending[::-1]


async def test_each_of_several_sort_keys_has_its_own_direction(
    client: AsyncClient, database: Database
) -> None:
    people = [
        ("Ann", date(1950, 1, 1)),
        ("Bob", None),
        ("Ann", None),
        ("Bob", date(1900, 1, 1)),
        ("Ann", date(1900, 1, 1)),
    ]
    rows: list[dict[str, Any]] = [
        {"id": UUID(int=n), "name": name, "dob": dob} for n, (name, dob) in enumerate(people)
    ]
    await insert_rows(database, "authors", rows)
    for sort, expected in (
        # An unknown date of birth comes after all other_keys.
        ("name,dob", [4, 0, 2, 3, 1]),
        ("name,-dob", [2, 0, 4, 1, 3]),
        ("-name,dob", [3, 1, 4, 0, 2]),
        ("-name,-dob", [1, 3, 2, 0, 4]),
        ("dob,-name", [3, 4, 0, 1, 2]),
        ("-dob,name", [2, 1, 0, 4, 3]),
        ("created_at,-dob,name", [2, 1, 0, 4, 3]),
    ):
        page = await get_json(client, f"/authors?sort={sort}")
        assert [UUID(item["id"]).int for item in page["items"]] == expected, sort


async def test_rows_with_equal_sort_keys_are_sorted_by_id(
    client: AsyncClient, database: Database
) -> None:
    await insert_rows(database, "authors", [{"id": UUID(int=n), "name": "Same"} for n in (3, 1, 2)])
    for sort in ("name", "dob", "created_at"):
        page = await get_json(client, f"/authors?sort={sort}")
        assert [UUID(item["id"]).int for item in page["items"]] == [1, 2, 3]


async def test_default_order_does_not_change_when_row_is_updated(
    client: AsyncClient, filled_tables: None
) -> None:
    await client.patch(f"/authors/{AUTHOR_ID}", json={"name": "zzz"})
    assert row_numbers(await get_json(client, "/authors?size=3")) == [1, 2, 3]


@every_list
async def test_unknown_sort_key_returns_422(client: AsyncClient, path: str) -> None:
    known = SORT_KEYS[path][0]
    for sort in ("", "id", "version", "search", known.upper(), f"--{known}", f"+{known}", "-"):
        check_parameter_error(await client.get(path, params={"sort": sort}), "sort")


@every_list
async def test_unknown_sort_key_after_known_one_returns_422(client: AsyncClient, path: str) -> None:
    for suffix in (",", ",nonsense", f", {SORT_KEYS[path][-1]}"):
        check_parameter_error(
            await client.get(path, params={"sort": SORT_KEYS[path][0] + suffix}), "sort"
        )


@every_list
async def test_repeated_sort_key_returns_422(client: AsyncClient, path: str) -> None:
    first, *other_keys = SORT_KEYS[path]
    between = [f"-{first},{key},-{first}" for key in other_keys]
    for sort in (f"{first},{first}", f"{first},-{first}", f"{first}&sort={first}", *between):
        check_parameter_error(await client.get(f"{path}?sort={sort}"), "sort")


async def test_earliest_and_latest_date_are_sorted_before_unknown_date(client: AsyncClient) -> None:
    # asyncpg uses the first and the last day of the calendar for the infinities of Postgres, so
    # they are rejected as dates of birth.
    for day in ("0001-01-01", "9999-12-31"):
        assert (await client.post("/authors", json={"name": "x", "dob": day})).status_code == 422
    expected = ["0001-01-02", "9999-12-30", None]
    for dob in (None, "9999-12-30", "0001-01-02"):
        await make_author(client, dob=dob)
    dates = []
    url = "/authors?sort=dob&size=1"
    page = await get_json(client, url)
    while page["items"]:
        dates.append(page["items"][0]["dob"])
        if page["next"] is None:
            break
        page = await get_json(client, f"{url}&cursor={page['next']}")
    assert dates == expected
