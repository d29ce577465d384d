"""Tests of the endpoints of authors."""

from httpx import AsyncClient

from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import make_author, make_book


async def test_created_author_is_returned_at_its_location(client: AsyncClient) -> None:
    response = await client.post("/authors", json={"name": "Gabriel García", "dob": "1927-03-06"})
    assert response.status_code == 201
    author = response.json()
    assert list(author) == ["id", "name", "dob", "created_at", "updated_at", "version"]
    assert author["name"] == "Gabriel García"
    assert author["created_at"].endswith("Z")
    assert response.headers["location"] == f"/authors/{author['id']}"
    assert response.headers["etag"] == '"1"'
    repeated = await client.get(response.headers["location"])
    assert (repeated.status_code, repeated.json()) == (200, author)


async def test_delete_author_returns_409_for_author_with_books(client: AsyncClient) -> None:
    book = await make_book(client)
    response = await client.delete(f"/authors/{book['author_id']}")
    assert response.status_code == 409
    assert response.json()["type"] == "urn:problem-type:bookshelf:author-has-books"
    assert (await client.get(f"/authors/{book['author_id']}")).status_code == 200


async def test_deleted_author_is_not_found(client: AsyncClient) -> None:
    author = await make_author(client)
    response = await client.delete(f"/authors/{author['id']}")
    assert (response.status_code, response.content) == (204, b"")
    assert (await client.get(f"/authors/{author['id']}")).status_code == 404
    assert (await client.delete(f"/authors/{author['id']}")).status_code == 404


async def test_patch_distinguishes_absent_fields_from_null(client: AsyncClient) -> None:
    author = await make_author(client, name="Ursula", dob="1929-10-21")
    path = f"/authors/{author['id']}"
    rename_response = await client.patch(path, json={"name": "Ursula K. Le Guin"})
    assert (rename_response.json()["name"], rename_response.json()["dob"]) == (
        "Ursula K. Le Guin",
        "1929-10-21",
    )
    assert rename_response.headers["etag"] == '"2"'
    clear_response = await client.patch(path, json={"dob": None})
    assert (clear_response.json()["name"], clear_response.json()["dob"]) == (
        "Ursula K. Le Guin",
        None,
    )
    null_response = await client.patch(path, json={"name": None})
    assert null_response.status_code == 422
    assert null_response.json()["errors"][0]["pointer"] == "/name"


async def test_empty_patch_changes_nothing(client: AsyncClient) -> None:
    author = await make_author(client)
    response = await client.patch(f"/authors/{author['id']}", json={})
    assert (response.status_code, response.json()) == (200, author)
    assert response.headers["etag"] == '"1"'
    assert (await client.patch(f"/authors/{UNKNOWN_ID}", json={})).status_code == 404


async def test_unknown_author_is_not_found(client: AsyncClient) -> None:
    for response in (
        await client.get(f"/authors/{UNKNOWN_ID}"),
        await client.patch(f"/authors/{UNKNOWN_ID}", json={"name": "x"}),
        await client.delete(f"/authors/{UNKNOWN_ID}"),
    ):
        assert response.status_code == 404
        assert response.json()["detail"] == "Author not found"
