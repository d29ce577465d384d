"""If-None-Match on PATCH and DELETE, and the details of 412 responses (RFC 9110, section 13)."""

import asyncio
from collections import Counter

import pytest
from httpx import AsyncClient, Response

from app.core.errors import PreconditionFailed
from tests.support.entities import ENTITIES
from tests.support.entity_case import UNKNOWN_ID, EntityCase
from tests.support.entity_tags import LISTS_WITH_CURRENT_TAG, MALFORMED_TAGS, OTHER_TAGS
from tests.support.factories import Json, make_author, make_document, make_user
from tests.support.problems import check_problem, field_error_locations
from tests.support.requests import body_arguments, create_row

every_entity = pytest.mark.parametrize("case", ENTITIES, ids=[case.plural for case in ENTITIES])
CURRENT_TAGS = ['"1"', 'W/"1"', "*", *LISTS_WITH_CURRENT_TAG]


async def create_author(client: AsyncClient) -> str:
    """Create an author, whose version is 1, and return the path."""
    return f"/authors/{(await make_author(client))['id']}"


async def send_writes(client: AsyncClient, path: str, **headers: str) -> list[Response]:
    """Send a PATCH without changes, one with a change, and a DELETE. Return the responses.

    For example, `If_Match='"1"'` is a request header of all three.
    """
    header_lines = {
        name.replace("_", "-").encode(): value.encode("latin-1") for name, value in headers.items()
    }
    return [
        await client.patch(path, json={}, headers=header_lines),
        await client.patch(path, json={"name": "Octavia"}, headers=header_lines),
        await client.delete(path, headers=header_lines),
    ]


@pytest.mark.parametrize("header", CURRENT_TAGS)
async def test_write_with_current_tag_in_if_none_match_returns_412_and_changes_nothing(
    client: AsyncClient, header: str
) -> None:
    path = await create_author(client)
    before = (await client.get(path)).json()
    for response in await send_writes(client, path, If_None_Match=header):
        problem = check_problem(response, 412, "precondition-failed")
        assert "If-None-Match" in problem["detail"]
    assert (await client.get(path)).json() == before


@every_entity
@pytest.mark.parametrize("header", ["current", "W/current", "*"])
async def test_write_of_every_entity_evaluates_if_none_match(
    client: AsyncClient, case: EntityCase, header: str
) -> None:
    row = await create_row(client, case)
    path = f"{case.path}/{row['id']}"
    headers = {"If-None-Match": header.replace("current", f'"{row["version"]}"')}
    arguments = body_arguments(case, case.update)
    arguments["headers"] = arguments.get("headers", {}) | headers
    check_problem(await client.patch(path, **arguments), 412, "precondition-failed")
    check_problem(await client.delete(path, headers=headers), 412, "precondition-failed")
    assert (await client.get(path)).json()["version"] == row["version"]


@every_entity
async def test_write_of_every_entity_succeeds_with_other_tag_in_if_none_match(
    client: AsyncClient, case: EntityCase
) -> None:
    path = f"{case.path}/{(await create_row(client, case))['id']}"
    headers = {"If-None-Match": '"other"'}
    arguments = body_arguments(case, case.update)
    arguments["headers"] = arguments.get("headers", {}) | headers
    assert (await client.patch(path, **arguments)).status_code == 200
    assert (await client.delete(path, headers=headers)).status_code == 204


@pytest.mark.parametrize("header", ['"2"', 'W/"2"', '"2", "3"', *OTHER_TAGS])
async def test_write_with_other_tags_in_if_none_match_succeeds(
    client: AsyncClient, header: str
) -> None:
    headers = {b"If-None-Match": header.encode("latin-1")}
    path = await create_author(client)
    patched = await client.patch(path, json={}, headers=headers)
    assert (patched.status_code, patched.headers["etag"]) == (200, '"1"')
    other_path = await create_author(client)
    changed = await client.patch(other_path, json={"name": "Octavia"}, headers=headers)
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert (await client.delete(path, headers=headers)).status_code == 204


@pytest.mark.parametrize("header", ["*", '"1"', '"2"'])
async def test_write_to_missing_resource_returns_404_with_any_if_none_match(
    client: AsyncClient, header: str
) -> None:
    for response in await send_writes(client, f"/authors/{UNKNOWN_ID}", If_None_Match=header):
        check_problem(response, 404, "not-found")


@pytest.mark.parametrize("header", MALFORMED_TAGS)
async def test_malformed_if_none_match_of_write_returns_422(
    client: AsyncClient, header: str
) -> None:
    path = await create_author(client)
    for response in await send_writes(client, path, If_None_Match=header):
        assert field_error_locations(response) == [{"header": "If-None-Match"}]


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "is_allowed"),
    [
        ('"1"', '"2"', True),
        ("*", '"2"', True),
        ('"2", "1"', '"2"', True),
        ('"1"', '"1"', False),
        ('"1"', "*", False),
        ("*", 'W/"1"', False),
        ("*", "*", False),
        ('"2"', '"3"', False),
        ('"2"', '"1"', False),
        ('"1", "2"', '"2", "1"', False),
    ],
)
async def test_both_headers_have_to_allow_the_current_version(
    client: AsyncClient, if_match: str, if_none_match: str, *, is_allowed: bool
) -> None:
    path = await create_author(client)
    headers = {"If-Match": if_match, "If-None-Match": if_none_match}
    unchanged = await client.patch(path, json={}, headers=headers)
    deleted = await client.delete(path, headers=headers)
    statuses = [unchanged.status_code, deleted.status_code]
    assert statuses == ([200, 204] if is_allowed else [412, 412])


async def test_repeated_if_none_match_headers_of_write_are_combined(client: AsyncClient) -> None:
    path = await create_author(client)
    headers = [("If-None-Match", '"7"'), ("If-None-Match", '"8", W/"1"')]
    response = await client.patch(path, json={}, headers=headers)
    check_problem(response, 412, "precondition-failed")


async def test_if_none_match_of_document_is_checked_before_its_file_is_received(
    client: AsyncClient,
) -> None:
    document = await make_document(client)
    headers = {"If-None-Match": "*", "Content-Type": "multipart/form-data; boundary=x"}
    # The body is not a form, so reading it would be 400.
    response = await client.patch(f"/documents/{document['id']}", content=b"x", headers=headers)
    check_problem(response, 412, "precondition-failed")


async def test_if_none_match_of_new_password_is_evaluated(client: AsyncClient) -> None:
    user = await make_user(client)
    changes = {"password": "another passphrase"}
    headers = {"If-None-Match": '"1"'}
    response = await client.patch(f"/users/{user['id']}", json=changes, headers=headers)
    check_problem(response, 412, "precondition-failed")


@pytest.mark.private_database
async def test_only_one_of_concurrent_writes_reaches_the_refused_version(
    client: AsyncClient,
) -> None:
    path = await create_author(client)
    # Every write replaces version 1. Writes that see version 2, also after waiting, are refused.
    headers = {"If-None-Match": '"2"'}
    responses = await asyncio.gather(
        *(client.patch(path, json={"name": f"{n}"}, headers=headers) for n in range(20))
    )
    assert Counter(response.status_code for response in responses) == {200: 1, 412: 19}
    assert (await client.get(path)).headers["etag"] == '"2"'


@pytest.mark.parametrize("header", ['W/"1"', 'W/"7"', 'W/"1", "7"', '"7", W/"8"'])
async def test_412_for_weak_tag_names_the_proxy_and_the_version(
    client: AsyncClient, header: str
) -> None:
    path = await create_author(client)
    for response in await send_writes(client, path, If_Match=header):
        detail = check_problem(response, 412, "precondition-failed")["detail"]
        assert all(word in detail for word in ("weak", "proxy", "compresses", "version"))
        assert "has changed" not in detail


@pytest.mark.parametrize("header", ['"2"', '"2", "3"'])
async def test_412_for_strong_tags_says_that_the_resource_has_changed(
    client: AsyncClient, header: str
) -> None:
    path = await create_author(client)
    for response in await send_writes(client, path, If_Match=header):
        problem = check_problem(response, 412, "precondition-failed")
        assert problem["detail"] == PreconditionFailed.detail


@every_entity
async def test_version_in_body_replaces_a_weak_tag(client: AsyncClient, case: EntityCase) -> None:
    row = await create_row(client, case)
    path = f"{case.path}/{row['id']}"
    weak_tag = f'W/"{row["version"]}"'
    check_problem(
        await client.delete(path, headers={"If-Match": weak_tag}), 412, "precondition-failed"
    )
    response = await client.delete(path, headers={"If-Match": f'"{row["version"]}"'})
    assert response.status_code == 204


@pytest.mark.parametrize("path", ["/authors/{id}", "/documents/{id}", "/tokens/current"])
async def test_both_headers_are_documented(document: Json, path: str) -> None:
    parameters = document["paths"][path]["delete"]["parameters"]
    assert {"If-Match", "If-None-Match"} <= {parameter["name"] for parameter in parameters}
