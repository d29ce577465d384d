"""Tests of the endpoints of books, except batches."""

from httpx import AsyncClient

from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import make_author, make_book
from tests.support.problems import check_problem, field_error_locations


async def test_created_book_is_returned_at_its_location(client: AsyncClient) -> None:
    author = await make_author(client, name="Ursula", dob="1929-10-21")
    body = {"title": "The Dispossessed", "author_id": author["id"]}
    response = await client.post("/books", json=body)
    assert response.status_code == 201
    book = response.json()
    assert list(book)[:4] == ["id", "title", "author_id", "author"]
    assert list(book)[-3:] == ["created_at", "updated_at", "version"]
    assert (book["title"], book["author_id"]) == ("The Dispossessed", author["id"])
    assert book["author"] == {"id": author["id"], "name": "Ursula", "dob": "1929-10-21"}
    assert book["created_at"] == book["updated_at"]
    assert book["created_at"].endswith("Z")
    assert response.headers["location"] == f"/books/{book['id']}"
    assert response.headers["etag"] == f'"{book["version"]}"'
    assert book["version"].startswith("1.1")
    assert response.headers["cache-control"] == "private, no-cache"
    repeated = await client.get(response.headers["location"])
    assert (repeated.status_code, repeated.json()) == (200, book)
    assert repeated.headers["etag"] == response.headers["etag"]


async def test_book_id_is_a_uuid_of_version_7(client: AsyncClient) -> None:
    book = await make_book(client)
    assert book["id"][14] == "7"


async def test_create_book_returns_field_error_for_unknown_author(client: AsyncClient) -> None:
    response = await client.post("/books", json={"title": "Anon", "author_id": UNKNOWN_ID})
    assert field_error_locations(response) == [{"pointer": "/author_id"}]
    assert (await client.get("/books")).json()["items"] == []


async def test_update_book_returns_field_error_for_unknown_author(client: AsyncClient) -> None:
    book = await make_book(client)
    response = await client.patch(f"/books/{book['id']}", json={"author_id": UNKNOWN_ID})
    assert field_error_locations(response) == [{"pointer": "/author_id"}]
    assert (await client.get(f"/books/{book['id']}")).json() == book


async def test_update_book_changes_only_the_fields_of_the_patch(client: AsyncClient) -> None:
    book = await make_book(client, title="The Disposessed")
    response = await client.patch(f"/books/{book['id']}", json={"title": "The Dispossessed"})
    assert response.status_code == 200
    changed = response.json()
    assert changed["version"].startswith("2.1")
    assert response.headers["etag"] == f'"{changed["version"]}"'
    assert changed == {
        **book,
        "title": "The Dispossessed",
        "updated_at": changed["updated_at"],
        "version": changed["version"],
    }
    assert (await client.get(f"/books/{book['id']}")).json() == changed


async def test_book_can_change_its_author(client: AsyncClient) -> None:
    book = await make_book(client)
    other_author = await make_author(client, name="Octavia E. Butler")
    response = await client.patch(f"/books/{book['id']}", json={"author_id": other_author["id"]})
    assert response.status_code == 200
    assert response.json()["author"] == {
        "id": other_author["id"],
        "name": "Octavia E. Butler",
        "dob": None,
    }
    # Only the former author has no books any more, and can be deleted.
    assert (await client.delete(f"/authors/{book['author_id']}")).status_code == 204
    assert (await client.delete(f"/authors/{other_author['id']}")).status_code == 409


async def test_empty_patch_changes_nothing(client: AsyncClient) -> None:
    book = await make_book(client)
    response = await client.patch(f"/books/{book['id']}", json={})
    assert (response.status_code, response.json()) == (200, book)
    assert response.headers["etag"] == f'"{book["version"]}"'


async def test_book_contains_the_current_name_of_its_author(client: AsyncClient) -> None:
    book = await make_book(client)
    await client.patch(f"/authors/{book['author_id']}", json={"name": "U. K. Le Guin"})
    read = await client.get(f"/books/{book['id']}")
    assert read.json()["author"]["name"] == "U. K. Le Guin"


async def test_etag_of_book_changes_when_author_is_renamed(client: AsyncClient) -> None:
    # The name of the author is part of the representation of a book.
    book = await make_book(client)
    old_etag = (await client.get(f"/books/{book['id']}")).headers["etag"]
    await client.patch(f"/authors/{book['author_id']}", json={"name": "U. K. Le Guin"})
    response = await client.get(f"/books/{book['id']}", headers={"If-None-Match": old_etag})
    assert response.status_code == 200
    assert response.headers["etag"] != old_etag


async def test_deleted_book_is_not_found_and_its_author_still_exists(client: AsyncClient) -> None:
    book = await make_book(client)
    response = await client.delete(f"/books/{book['id']}")
    assert (response.status_code, response.content) == (204, b"")
    assert (await client.get(f"/books/{book['id']}")).status_code == 404
    assert (await client.delete(f"/books/{book['id']}")).status_code == 404
    assert (await client.get(f"/authors/{book['author_id']}")).status_code == 200


async def test_unknown_book_is_not_found(client: AsyncClient) -> None:
    author = await make_author(client)
    for response in (
        await client.get(f"/books/{UNKNOWN_ID}"),
        await client.patch(f"/books/{UNKNOWN_ID}", json={}),
        await client.patch(f"/books/{UNKNOWN_ID}", json={"title": "x"}),
        # The foreign key is not checked, because no row is updated.
        await client.patch(f"/books/{UNKNOWN_ID}", json={"author_id": author["id"]}),
        await client.delete(f"/books/{UNKNOWN_ID}"),
    ):
        assert check_problem(response, 404, "not-found")["detail"] == "Book not found"


async def test_malformed_id_in_path_is_a_field_error(client: AsyncClient) -> None:
    for malformed_id in (
        "1",
        "nobody",
        UNKNOWN_ID[:-1],
        UNKNOWN_ID.replace("-", ""),
        "{" + UNKNOWN_ID + "}",
    ):
        for response in (
            await client.get(f"/books/{malformed_id}"),
            await client.patch(f"/books/{malformed_id}", json={}),
            await client.delete(f"/books/{malformed_id}"),
            await client.get(f"/authors/{malformed_id}/books"),
        ):
            assert field_error_locations(response) == [{"parameter": "id"}]


async def test_id_in_path_may_have_capital_letters(client: AsyncClient) -> None:
    book = await make_book(client)
    response = await client.get(f"/books/{book['id'].upper()}")
    assert (response.status_code, response.json()) == (200, book)


async def test_list_author_books_contains_no_books_of_other_authors(client: AsyncClient) -> None:
    book = await make_book(client)
    await make_book(client, title="Kindred")
    page = (await client.get(f"/authors/{book['author_id']}/books")).json()
    assert (page["items"], page["total"]) == ([book], 1)


async def test_list_author_books_is_empty_for_author_without_books(client: AsyncClient) -> None:
    author = await make_author(client)
    response = await client.get(f"/authors/{author['id']}/books")
    assert (response.status_code, response.json()["items"]) == (200, [])


async def test_list_author_books_returns_404_for_unknown_author(client: AsyncClient) -> None:
    response = await client.get(f"/authors/{UNKNOWN_ID}/books")
    assert check_problem(response, 404, "not-found")["detail"] == "Author not found"
