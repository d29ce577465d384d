"""ETag, If-None-Match and If-Match (RFC 9110, section 13) on every single resource."""

import asyncio
from collections import Counter
from itertools import product

import pytest
from httpx import AsyncClient

from tests.support.entities import CASES_BY_PATH, ENTITIES
from tests.support.entity_case import UNKNOWN_ID
from tests.support.entity_tags import LISTS_WITH_CURRENT_TAG, MALFORMED_TAGS, OTHER_TAGS
from tests.support.factories import make_author, make_book, make_user
from tests.support.problems import check_problem, field_error_locations
from tests.support.requests import create_row


async def create_resource(client: AsyncClient, collection: str) -> str:
    """Create a resource, and return its path. Its ETag begins with 1."""
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
async def test_each_change_increments_etag(client: AsyncClient, collection: str) -> None:
    path = await create_resource(client, collection)
    first = (await client.get(path)).headers["etag"]
    assert first.startswith('"1')
    for version in ('"2', '"3'):
        patched = await client.patch(path, json=CHANGE[collection])
        assert patched.headers["etag"] == first.replace('"1', version, 1)
        assert (await client.get(path)).headers["etag"] == patched.headers["etag"]


async def test_list_has_no_etag_and_ignores_conditions(client: AsyncClient) -> None:
    await make_author(client)
    response = await client.get("/authors", headers={"If-None-Match": "*"})
    assert response.status_code == 200
    assert "etag" not in response.headers


@pytest.mark.parametrize(
    ("collection", "header"),
    [*product(COLLECTIONS, ['"1"', 'W/"1"', "*"]), *product(["authors"], LISTS_WITH_CURRENT_TAG)],
)
async def test_get_with_current_etag_returns_304(
    client: AsyncClient, collection: str, header: str
) -> None:
    path = await create_resource(client, collection)
    ok_response = await client.get(path)
    header = header.replace('"1"', ok_response.headers["etag"])
    for response in (
        await client.get(path, headers={"If-None-Match": header}),
        await client.head(path, headers={"If-None-Match": header}),
    ):
        assert (response.status_code, response.content) == (304, b"")
        # A cache updates its copy with these headers (RFC 9110, 15.4.5).
        assert response.headers["etag"] == ok_response.headers["etag"]
        assert response.headers["cache-control"] == ok_response.headers["cache-control"]
        assert "content-type" not in response.headers


@pytest.mark.parametrize("header", ['"2"', 'W/"2"', '"2", "3"', '"11"', '"1,"', *OTHER_TAGS])
async def test_get_with_other_etag_returns_200(client: AsyncClient, header: str) -> None:
    path = await create_resource(client, "authors")
    headers = {b"If-None-Match": header.encode("latin-1")}
    response = await client.get(path, headers=headers)
    assert response.status_code == 200
    assert (response.json()["name"], response.headers["etag"]) == ("Ursula K. Le Guin", '"1"')
    assert (await client.head(path, headers=headers)).status_code == 200


async def test_repeated_if_none_match_headers_are_combined(client: AsyncClient) -> None:
    path = await create_resource(client, "authors")
    headers = [("If-None-Match", '"7"'), ("If-None-Match", 'W/"8", "1"')]
    assert (await client.get(path, headers=headers)).status_code == 304
    assert (await client.get(path, headers=headers[:1] * 2)).status_code == 200


@pytest.mark.parametrize("header", MALFORMED_TAGS)
async def test_malformed_if_none_match_returns_422(client: AsyncClient, header: str) -> None:
    path = await create_resource(client, "authors")
    response = await client.get(path, headers={"If-None-Match": header})
    assert field_error_locations(response) == [{"header": "If-None-Match"}]
    assert (await client.head(path, headers={"If-None-Match": header})).status_code == 422


async def test_get_with_outdated_etag_returns_changed_resource(client: AsyncClient) -> None:
    path = await create_resource(client, "authors")
    await client.patch(path, json={"name": "x"})
    response = await client.get(path, headers={"If-None-Match": '"1"'})
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')


async def test_get_of_missing_resource_returns_404_with_any_if_none_match(
    client: AsyncClient,
) -> None:
    for header in ("*", '"1"'):
        response = await client.get(f"/authors/{UNKNOWN_ID}", headers={"If-None-Match": header})
        check_problem(response, 404, "not-found")


@pytest.mark.parametrize(
    ("collection", "header"),
    [
        *product(COLLECTIONS, ['"1"', "*"]),
        *product(["authors"], ['"7", "1"', '"1","7"', 'W/"1", "1"', ',"1",']),
    ],
)
async def test_write_with_current_version_succeeds(
    client: AsyncClient, collection: str, header: str
) -> None:
    path = await create_resource(client, collection)
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
async def test_write_with_stale_version_returns_412_and_changes_nothing(
    client: AsyncClient, collection: str, body: dict[str, str] | None
) -> None:
    path = await create_resource(client, collection)
    stale = {"If-Match": (await client.get(path)).headers["etag"]}
    await client.patch(path, json=CHANGE[collection])
    before = (await client.get(path)).json()
    change = (
        CHANGE[collection] if body is None else body
    )  # an empty patch has to check the version as well
    check_problem(await client.patch(path, json=change, headers=stale), 412, "precondition-failed")
    check_problem(await client.delete(path, headers=stale), 412, "precondition-failed")
    assert (await client.get(path)).json() == before


@pytest.mark.parametrize("header", ['W/"1"', 'W/"1", W/"2"', '"2"', '"2", "3"', *OTHER_TAGS])
async def test_write_without_current_version_returns_412(client: AsyncClient, header: str) -> None:
    path = await create_resource(client, "authors")
    headers = {b"If-Match": header.encode("latin-1")}
    for response in (
        await client.patch(path, json={}, headers=headers),
        await client.patch(path, json={"name": "x"}, headers=headers),
        await client.delete(path, headers=headers),
    ):
        check_problem(response, 412, "precondition-failed")


async def test_repeated_if_match_headers_are_combined(client: AsyncClient) -> None:
    path = await create_resource(client, "authors")
    headers = [("If-Match", '"7"'), ("If-Match", '"8", "1"')]
    assert (await client.patch(path, json={}, headers=headers)).status_code == 200
    stale = await client.patch(path, json={}, headers=headers[:1] * 2)
    check_problem(stale, 412, "precondition-failed")


@pytest.mark.parametrize("header", ["*", '"1"', 'W/"1"', '"xyzzy"', '"9223372036854775808"'])
async def test_write_to_missing_resource_returns_404_with_any_if_match(
    client: AsyncClient, header: str
) -> None:
    for path, change in (
        (f"/authors/{UNKNOWN_ID}", {"name": "x"}),
        (f"/books/{UNKNOWN_ID}", {"title": "x"}),
        ("/users/1000000000", {"name": "x"}),
    ):
        for response in (
            await client.patch(path, json={}, headers={"If-Match": header}),
            await client.patch(path, json=change, headers={"If-Match": header}),
            await client.delete(path, headers={"If-Match": header}),
        ):
            check_problem(response, 404, "not-found")


@pytest.mark.parametrize("header", MALFORMED_TAGS)
async def test_malformed_if_match_returns_422(client: AsyncClient, header: str) -> None:
    path = await create_resource(client, "authors")
    for response in (
        await client.patch(path, json={}, headers={"If-Match": header}),
        await client.patch(path, json={"name": "x"}, headers={"If-Match": header}),
        await client.delete(path, headers={"If-Match": header}),
    ):
        assert field_error_locations(response) == [{"header": "If-Match"}]
    assert (await client.get(path)).headers["etag"] == '"1"'


async def test_long_if_match_takes_one_comparison(client: AsyncClient) -> None:
    path = await create_resource(client, "authors")
    many_tags = ", ".join(f'"{version}"' for version in range(2, 1000))
    response = await client.patch(path, json={}, headers={"If-Match": many_tags})
    check_problem(response, 412, "precondition-failed")
    response = await client.patch(
        path, json={"name": "x"}, headers={"If-Match": many_tags + ', "1"'}
    )
    assert response.status_code == 200


async def test_if_match_longer_than_documented_returns_422(client: AsyncClient) -> None:
    path = await create_resource(client, "authors")
    long_header = ", ".join(f'"{version}"' for version in range(1, 5000))
    response = await client.patch(path, json={"name": "x"}, headers={"If-Match": long_header})
    # The server may accept a longer header than it documents.
    if response.status_code != 200:
        assert field_error_locations(response) == [{"header": "If-Match"}]


async def test_invalid_body_is_reported_before_stale_version(client: AsyncClient) -> None:
    path = await create_resource(client, "authors")
    response = await client.patch(path, json={"name": ""}, headers={"If-Match": '"7"'})
    assert field_error_locations(response) == [{"pointer": "/name"}]


@pytest.mark.private_database
@every_entity
async def test_only_one_of_concurrent_patches_with_same_etag_succeeds(
    client: AsyncClient, collection: str
) -> None:
    path = await create_resource(client, collection)
    headers = {"If-Match": (await client.get(path)).headers["etag"]}
    column = CASES_BY_PATH[f"/{collection}"].search_column
    changes = [{column: f"{n}"} if column else CHANGE[collection] for n in range(20)]
    responses = await asyncio.gather(
        *(client.patch(path, json=change, headers=headers) for change in changes)
    )
    assert Counter(response.status_code for response in responses) == {200: 1, 412: 19}
    [winner] = [response for response in responses if response.is_success]
    current = await client.get(path)
    assert (current.json(), current.headers["etag"]) == (winner.json(), winner.headers["etag"])
    assert current.headers["etag"] != headers["If-Match"]


@pytest.mark.private_database
async def test_only_one_of_concurrent_deletes_with_same_etag_succeeds(client: AsyncClient) -> None:
    path = await create_resource(client, "authors")
    responses = await asyncio.gather(
        *(client.delete(path, headers={"If-Match": '"1"'}) for _ in range(20))
    )
    assert Counter(response.status_code for response in responses) == {204: 1, 404: 19}


@pytest.mark.private_database
async def test_concurrent_delete_and_patch_with_same_etag_do_not_both_succeed(
    client: AsyncClient,
) -> None:
    paths = [await create_resource(client, "authors") for _ in range(20)]
    headers = {"If-Match": '"1"'}
    for path in paths:
        patched, deleted = await asyncio.gather(
            client.patch(path, json={"name": "x"}, headers=headers),
            client.delete(path, headers=headers),
        )
        assert (patched.status_code, deleted.status_code) in {(200, 412), (404, 204)}


@pytest.mark.private_database
async def test_concurrent_patches_without_condition_are_all_applied(client: AsyncClient) -> None:
    path = await create_resource(client, "authors")
    responses = await asyncio.gather(
        *(client.patch(path, json={"name": f"{n}"}) for n in range(20))
    )
    etags = {response.headers["etag"] for response in responses}
    assert etags == {f'"{version}"' for version in range(2, 22)}
