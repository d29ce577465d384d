"""Authors over HTTP."""

from httpx import AsyncClient

from tests.support.factories import make_author, make_book

NOBODY = "01890000-0000-7000-8000-000000000000"


async def test_created_author_is_returned_at_its_location(client: AsyncClient) -> None:
    answer = await client.post("/authors", json={"name": "Gabriel García", "dob": "1927-03-06"})
    assert answer.status_code == 201
    author = answer.json()
    assert list(author) == ["id", "name", "dob", "created_at", "updated_at", "version"]
    assert author["name"] == "Gabriel García"
    assert author["created_at"].endswith("Z")
    assert answer.headers["location"] == f"/authors/{author['id']}"
    assert answer.headers["etag"] == '"1"'
    again = await client.get(answer.headers["location"])
    assert (again.status_code, again.json()) == (200, author)


async def test_delete_author_returns_409_for_author_with_books(client: AsyncClient) -> None:
    book = await make_book(client)
    answer = await client.delete(f"/authors/{book['author_id']}")
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:problem-type:bookshelf:author-has-books"
    assert (await client.get(f"/authors/{book['author_id']}")).status_code == 200


async def test_deleted_author_is_not_found(client: AsyncClient) -> None:
    author = await make_author(client)
    answer = await client.delete(f"/authors/{author['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get(f"/authors/{author['id']}")).status_code == 404
    assert (await client.delete(f"/authors/{author['id']}")).status_code == 404


async def test_patch_distinguishes_absent_fields_from_null(client: AsyncClient) -> None:
    author = await make_author(client, name="Ursula", dob="1929-10-21")
    path = f"/authors/{author['id']}"
    renamed = await client.patch(path, json={"name": "Ursula K. Le Guin"})
    assert (renamed.json()["name"], renamed.json()["dob"]) == ("Ursula K. Le Guin", "1929-10-21")
    assert renamed.headers["etag"] == '"2"'
    cleared = await client.patch(path, json={"dob": None})
    assert (cleared.json()["name"], cleared.json()["dob"]) == ("Ursula K. Le Guin", None)
    refused = await client.patch(path, json={"name": None})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/name"


async def test_empty_patch_changes_nothing(client: AsyncClient) -> None:
    author = await make_author(client)
    answer = await client.patch(f"/authors/{author['id']}", json={})
    assert (answer.status_code, answer.json()) == (200, author)
    assert answer.headers["etag"] == '"1"'
    assert (await client.patch(f"/authors/{NOBODY}", json={})).status_code == 404


async def test_unknown_author_is_not_found(client: AsyncClient) -> None:
    for answer in (
        await client.get(f"/authors/{NOBODY}"),
        await client.patch(f"/authors/{NOBODY}", json={"name": "x"}),
        await client.delete(f"/authors/{NOBODY}"),
    ):
        assert answer.status_code == 404
        assert answer.json()["detail"] == "Author not found"
