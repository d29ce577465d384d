"""ETag, If-None-Match and If-Match (RFC 9110, section 13) on every single resource."""

import asyncio
from collections import Counter
from itertools import product

import pytest
from httpx import AsyncClient

from tests.authors.test_authors import NOBODY
from tests.support.entities import CASES_BY_PATH, ENTITIES
from tests.support.factories import make_author, make_book, make_user
from tests.support.problems import check_problem, field_error_locations
from tests.support.requests import create_row

# Syntax errors: an unquoted tag, a list with a star in it, a tag that never ends, ...
WRONG = [
    "1",
    "W/1",
    'w/"1"',
    'W/ "1"',
    '"1',
    '1"',
    '"',
    '"1" "2"',
    '"1""2"',
    '"1"; "2"',
    '"1", *',
    '*, "1"',
    "**",
    '"a b"',
    "'1'",
    "null",
    '"1",' * 2000 + "x",
]
# Right syntax, and no version of ours.
FOREIGN = [
    '""',
    '"0"',
    '"-1"',
    '"01"',
    '"+1"',
    '"1.0"',
    '"1_"',
    '"xyzzy"',
    '"é"',
    '"2147483647"',
    '"2147483648"',
    '"9223372036854775808"',
    f'"{"9" * 5000}"',
    f'"{"1" * 40}"',
]
# Right syntax with the current version among others.
LISTS = ['"7", "1"', '"1","7"', '"7" , W/"1"', '"xyzzy", "1"', ',"1",,', '"a,b", "1"', '\t"1" ']


async def a_resource(client: AsyncClient, collection: str) -> str:
    """The path of a new resource, whose ETag begins with 1."""
    if collection == "authors":
        return f"/authors/{(await make_author(client))['id']}"
    if collection == "books":
        return f"/books/{(await make_book(client))['id']}"
    if collection == "users":
        return f"/users/{(await make_user(client))['id']}"
    case = CASES_BY_PATH[f"/{collection}"]
    return f"{case.path}/{(await create_row(client, case))['id']}"


JSON_CASES = [case for case in ENTITIES if not case.is_form]
COLLECTIONS = [case.path[1:] for case in JSON_CASES]
every_entity = pytest.mark.parametrize("collection", COLLECTIONS)
CHANGE = {case.path[1:]: case.update for case in JSON_CASES}


@every_entity
async def test_each_change_raises_the_etag_by_one(client: AsyncClient, collection: str) -> None:
    path = await a_resource(client, collection)
    first = (await client.get(path)).headers["etag"]
    assert first.startswith('"1')
    for version in ('"2', '"3'):
        patched = await client.patch(path, json=CHANGE[collection])
        assert patched.headers["etag"] == first.replace('"1', version, 1)
        assert (await client.get(path)).headers["etag"] == patched.headers["etag"]


async def test_a_list_has_no_etag_and_ignores_conditions(client: AsyncClient) -> None:
    await make_author(client)
    answer = await client.get("/authors", headers={"If-None-Match": "*"})
    assert answer.status_code == 200
    assert "etag" not in answer.headers


@pytest.mark.parametrize(
    ("collection", "header"),
    [*product(COLLECTIONS, ['"1"', 'W/"1"', "*"]), *product(["authors"], LISTS)],
)
async def test_a_reader_that_holds_the_current_version_gets_304(
    client: AsyncClient, collection: str, header: str
) -> None:
    path = await a_resource(client, collection)
    full = await client.get(path)
    header = header.replace('"1"', full.headers["etag"])
    for answer in (
        await client.get(path, headers={"If-None-Match": header}),
        await client.head(path, headers={"If-None-Match": header}),
    ):
        assert (answer.status_code, answer.content) == (304, b"")
        # What a cache updates its copy with (RFC 9110, 15.4.5) is as it was on the 200.
        assert answer.headers["etag"] == full.headers["etag"]
        assert answer.headers["cache-control"] == full.headers["cache-control"]
        assert "content-type" not in answer.headers


@pytest.mark.parametrize("header", ['"2"', 'W/"2"', '"2", "3"', '"11"', '"1,"', *FOREIGN])
async def test_a_reader_that_holds_another_version_gets_the_resource(
    client: AsyncClient, header: str
) -> None:
    path = await a_resource(client, "authors")
    headers = {b"If-None-Match": header.encode("latin-1")}
    answer = await client.get(path, headers=headers)
    assert answer.status_code == 200
    assert (answer.json()["name"], answer.headers["etag"]) == ("Ursula K. Le Guin", '"1"')
    assert (await client.head(path, headers=headers)).status_code == 200


async def test_several_if_none_match_lines_are_one_list(client: AsyncClient) -> None:
    path = await a_resource(client, "authors")
    lines = [("If-None-Match", '"7"'), ("If-None-Match", 'W/"8", "1"')]
    assert (await client.get(path, headers=lines)).status_code == 304
    assert (await client.get(path, headers=lines[:1] * 2)).status_code == 200


@pytest.mark.parametrize("header", WRONG)
async def test_an_if_none_match_that_is_no_list_of_tags_is_invalid(
    client: AsyncClient, header: str
) -> None:
    path = await a_resource(client, "authors")
    answer = await client.get(path, headers={"If-None-Match": header})
    assert field_error_locations(answer) == [{"header": "If-None-Match"}]
    assert (await client.head(path, headers={"If-None-Match": header})).status_code == 422


async def test_a_reader_learns_of_a_change(client: AsyncClient) -> None:
    path = await a_resource(client, "authors")
    await client.patch(path, json={"name": "x"})
    answer = await client.get(path, headers={"If-None-Match": '"1"'})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')


async def test_what_is_not_there_is_not_found_whatever_the_reader_holds(
    client: AsyncClient,
) -> None:
    for header in ("*", '"1"'):
        answer = await client.get(f"/authors/{NOBODY}", headers={"If-None-Match": header})
        check_problem(answer, 404, "not-found")


@pytest.mark.parametrize(
    ("collection", "header"),
    [
        *product(COLLECTIONS, ['"1"', "*"]),
        *product(["authors"], ['"7", "1"', '"1","7"', 'W/"1", "1"', ',"1",']),
    ],
)
async def test_a_write_with_the_current_version_goes_through(
    client: AsyncClient, collection: str, header: str
) -> None:
    path = await a_resource(client, collection)
    first = (await client.get(path)).headers["etag"]
    headers = {"If-Match": header.replace('"1"', first)}
    assert (await client.patch(path, json={}, headers=headers)).headers["etag"] == first
    patched = await client.patch(path, json=CHANGE[collection], headers=headers)
    second = first.replace('"1', '"2', 1)
    assert (patched.status_code, patched.headers["etag"]) == (200, second)
    current = header.replace('"1"', second)
    assert (await client.delete(path, headers={"If-Match": current})).status_code == 204


@every_entity
@pytest.mark.parametrize("body", [{}, None])
async def test_a_stale_write_changes_nothing(
    client: AsyncClient, collection: str, body: dict[str, str] | None
) -> None:
    path = await a_resource(client, collection)
    stale = {"If-Match": (await client.get(path)).headers["etag"]}
    await client.patch(path, json=CHANGE[collection])
    before = (await client.get(path)).json()
    change = CHANGE[collection] if body is None else body  # an empty patch is stale as well
    check_problem(await client.patch(path, json=change, headers=stale), 412, "precondition-failed")
    check_problem(await client.delete(path, headers=stale), 412, "precondition-failed")
    assert (await client.get(path)).json() == before


@pytest.mark.parametrize("header", ['W/"1"', 'W/"1", W/"2"', '"2"', '"2", "3"', *FOREIGN])
async def test_a_write_with_no_version_that_is_current_fails(
    client: AsyncClient, header: str
) -> None:
    path = await a_resource(client, "authors")
    headers = {b"If-Match": header.encode("latin-1")}
    for answer in (
        await client.patch(path, json={}, headers=headers),
        await client.patch(path, json={"name": "x"}, headers=headers),
        await client.delete(path, headers=headers),
    ):
        check_problem(answer, 412, "precondition-failed")


async def test_several_if_match_lines_are_one_list(client: AsyncClient) -> None:
    path = await a_resource(client, "authors")
    lines = [("If-Match", '"7"'), ("If-Match", '"8", "1"')]
    assert (await client.patch(path, json={}, headers=lines)).status_code == 200
    stale = await client.patch(path, json={}, headers=lines[:1] * 2)
    check_problem(stale, 412, "precondition-failed")


@pytest.mark.parametrize("header", ["*", '"1"', 'W/"1"', '"xyzzy"', '"9223372036854775808"'])
async def test_a_write_to_what_is_not_there_is_not_found(client: AsyncClient, header: str) -> None:
    for path, change in (
        (f"/authors/{NOBODY}", {"name": "x"}),
        (f"/books/{NOBODY}", {"title": "x"}),
        ("/users/1000000000", {"name": "x"}),
    ):
        for answer in (
            await client.patch(path, json={}, headers={"If-Match": header}),
            await client.patch(path, json=change, headers={"If-Match": header}),
            await client.delete(path, headers={"If-Match": header}),
        ):
            check_problem(answer, 404, "not-found")


@pytest.mark.parametrize("header", WRONG)
async def test_an_if_match_that_is_no_list_of_tags_is_invalid(
    client: AsyncClient, header: str
) -> None:
    path = await a_resource(client, "authors")
    for answer in (
        await client.patch(path, json={}, headers={"If-Match": header}),
        await client.patch(path, json={"name": "x"}, headers={"If-Match": header}),
        await client.delete(path, headers={"If-Match": header}),
    ):
        assert field_error_locations(answer) == [{"header": "If-Match"}]
    assert (await client.get(path)).headers["etag"] == '"1"'


async def test_a_very_long_if_match_is_one_comparison(client: AsyncClient) -> None:
    path = await a_resource(client, "authors")
    many = ", ".join(f'"{version}"' for version in range(2, 1000))
    answer = await client.patch(path, json={}, headers={"If-Match": many})
    check_problem(answer, 412, "precondition-failed")
    answer = await client.patch(path, json={"name": "x"}, headers={"If-Match": many + ', "1"'})
    assert answer.status_code == 200


async def test_an_if_match_longer_than_documented_is_refused_as_a_header(
    client: AsyncClient,
) -> None:
    path = await a_resource(client, "authors")
    long = ", ".join(f'"{version}"' for version in range(1, 5000))
    answer = await client.patch(path, json={"name": "x"}, headers={"If-Match": long})
    if answer.status_code != 200:  # a limit there may be, and then it says where
        assert field_error_locations(answer) == [{"header": "If-Match"}]


async def test_a_wrong_body_is_told_before_a_stale_version(client: AsyncClient) -> None:
    path = await a_resource(client, "authors")
    answer = await client.patch(path, json={"name": ""}, headers={"If-Match": '"7"'})
    assert field_error_locations(answer) == [{"pointer": "/name"}]


@pytest.mark.private_database
@every_entity
async def test_of_parallel_writers_with_one_etag_exactly_one_wins(
    client: AsyncClient, collection: str
) -> None:
    path = await a_resource(client, collection)
    headers = {"If-Match": (await client.get(path)).headers["etag"]}
    column = CASES_BY_PATH[f"/{collection}"].search_column
    changes = [{column: f"{n}"} if column else CHANGE[collection] for n in range(20)]
    answers = await asyncio.gather(
        *(client.patch(path, json=change, headers=headers) for change in changes)
    )
    assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 19}
    [winner] = [answer for answer in answers if answer.is_success]
    now = await client.get(path)
    assert (now.json(), now.headers["etag"]) == (winner.json(), winner.headers["etag"])
    assert now.headers["etag"] != headers["If-Match"]


@pytest.mark.private_database
async def test_of_parallel_deleters_with_one_etag_exactly_one_wins(client: AsyncClient) -> None:
    path = await a_resource(client, "authors")
    answers = await asyncio.gather(
        *(client.delete(path, headers={"If-Match": '"1"'}) for _ in range(20))
    )
    assert Counter(answer.status_code for answer in answers) == {204: 1, 404: 19}


@pytest.mark.private_database
async def test_a_delete_and_a_patch_with_one_etag_cannot_both_win(client: AsyncClient) -> None:
    paths = [await a_resource(client, "authors") for _ in range(20)]
    headers = {"If-Match": '"1"'}
    for path in paths:
        patched, deleted = await asyncio.gather(
            client.patch(path, json={"name": "x"}, headers=headers),
            client.delete(path, headers=headers),
        )
        assert (patched.status_code, deleted.status_code) in {(200, 412), (404, 204)}


@pytest.mark.private_database
async def test_no_parallel_change_without_a_condition_is_lost(client: AsyncClient) -> None:
    path = await a_resource(client, "authors")
    answers = await asyncio.gather(*(client.patch(path, json={"name": f"{n}"}) for n in range(20)))
    etags = {answer.headers["etag"] for answer in answers}
    assert etags == {f'"{version}"' for version in range(2, 22)}
