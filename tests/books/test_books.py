"""Books over HTTP."""

from httpx import AsyncClient

from tests.authors.test_authors import NOBODY
from tests.support.factories import make_author, make_book
from tests.support.problems import check_problem, field_error_locations


async def test_created_book_is_returned_at_its_location(client: AsyncClient) -> None:
    author = await make_author(client, name="Ursula", dob="1929-10-21")
    body = {"title": "The Dispossessed", "author_id": author["id"]}
    answer = await client.post("/books", json=body)
    assert answer.status_code == 201
    book = answer.json()
    assert list(book)[:4] == ["id", "title", "author_id", "author"]
    assert list(book)[-3:] == ["created_at", "updated_at", "version"]
    assert (book["title"], book["author_id"]) == ("The Dispossessed", author["id"])
    assert book["author"] == {"id": author["id"], "name": "Ursula", "dob": "1929-10-21"}
    assert book["created_at"] == book["updated_at"]
    assert book["created_at"].endswith("Z")
    assert answer.headers["location"] == f"/books/{book['id']}"
    assert answer.headers["etag"] == f'"{book["version"]}"'
    assert book["version"].startswith("1.1")
    assert answer.headers["cache-control"] == "private, no-cache"
    again = await client.get(answer.headers["location"])
    assert (again.status_code, again.json()) == (200, book)
    assert again.headers["etag"] == answer.headers["etag"]


async def test_book_id_is_a_uuid_of_version_7(client: AsyncClient) -> None:
    book = await make_book(client)
    assert book["id"][14] == "7"


async def test_create_book_returns_field_error_for_unknown_author(client: AsyncClient) -> None:
    answer = await client.post("/books", json={"title": "Anon", "author_id": NOBODY})
    assert field_error_locations(answer) == [{"pointer": "/author_id"}]
    assert (await client.get("/books")).json()["items"] == []


async def test_update_book_returns_field_error_for_unknown_author(client: AsyncClient) -> None:
    book = await make_book(client)
    answer = await client.patch(f"/books/{book['id']}", json={"author_id": NOBODY})
    assert field_error_locations(answer) == [{"pointer": "/author_id"}]
    assert (await client.get(f"/books/{book['id']}")).json() == book


async def test_update_book_changes_only_the_fields_of_the_patch(client: AsyncClient) -> None:
    book = await make_book(client, title="The Disposessed")
    answer = await client.patch(f"/books/{book['id']}", json={"title": "The Dispossessed"})
    assert answer.status_code == 200
    changed = answer.json()
    assert changed["version"].startswith("2.1")
    assert answer.headers["etag"] == f'"{changed["version"]}"'
    assert changed == {
        **book,
        "title": "The Dispossessed",
        "updated_at": changed["updated_at"],
        "version": changed["version"],
    }
    assert (await client.get(f"/books/{book['id']}")).json() == changed


async def test_book_can_change_its_author(client: AsyncClient) -> None:
    book = await make_book(client)
    other = await make_author(client, name="Octavia E. Butler")
    answer = await client.patch(f"/books/{book['id']}", json={"author_id": other["id"]})
    assert answer.status_code == 200
    assert answer.json()["author"] == {"id": other["id"], "name": "Octavia E. Butler", "dob": None}
    # Nobody's book any more: the former author can go, the new one cannot.
    assert (await client.delete(f"/authors/{book['author_id']}")).status_code == 204
    assert (await client.delete(f"/authors/{other['id']}")).status_code == 409


async def test_empty_patch_changes_nothing(client: AsyncClient) -> None:
    book = await make_book(client)
    answer = await client.patch(f"/books/{book['id']}", json={})
    assert (answer.status_code, answer.json()) == (200, book)
    assert answer.headers["etag"] == f'"{book["version"]}"'


async def test_book_contains_the_current_name_of_its_author(client: AsyncClient) -> None:
    book = await make_book(client)
    await client.patch(f"/authors/{book['author_id']}", json={"name": "U. K. Le Guin"})
    read = await client.get(f"/books/{book['id']}")
    assert read.json()["author"]["name"] == "U. K. Le Guin"


async def test_etag_of_book_changes_when_author_is_renamed(client: AsyncClient) -> None:
    # A strong ETag names one representation, and the author's name is part of a book's.
    book = await make_book(client)
    held = (await client.get(f"/books/{book['id']}")).headers["etag"]
    await client.patch(f"/authors/{book['author_id']}", json={"name": "U. K. Le Guin"})
    answer = await client.get(f"/books/{book['id']}", headers={"If-None-Match": held})
    assert answer.status_code == 200
    assert answer.headers["etag"] != held


async def test_deleted_book_is_not_found_and_its_author_still_exists(client: AsyncClient) -> None:
    book = await make_book(client)
    answer = await client.delete(f"/books/{book['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get(f"/books/{book['id']}")).status_code == 404
    assert (await client.delete(f"/books/{book['id']}")).status_code == 404
    assert (await client.get(f"/authors/{book['author_id']}")).status_code == 200


async def test_unknown_book_is_not_found(client: AsyncClient) -> None:
    author = await make_author(client)
    for answer in (
        await client.get(f"/books/{NOBODY}"),
        await client.patch(f"/books/{NOBODY}", json={}),
        await client.patch(f"/books/{NOBODY}", json={"title": "x"}),
        # The book is looked for before its author: nothing can violate a key that is not there.
        await client.patch(f"/books/{NOBODY}", json={"author_id": author["id"]}),
        await client.delete(f"/books/{NOBODY}"),
    ):
        assert check_problem(answer, 404, "not-found")["detail"] == "Book not found"


async def test_malformed_id_in_path_is_a_field_error(client: AsyncClient) -> None:
    for wrong in ("1", "nobody", NOBODY[:-1], NOBODY.replace("-", ""), "{" + NOBODY + "}"):
        for answer in (
            await client.get(f"/books/{wrong}"),
            await client.patch(f"/books/{wrong}", json={}),
            await client.delete(f"/books/{wrong}"),
            await client.get(f"/authors/{wrong}/books"),
        ):
            assert field_error_locations(answer) == [{"parameter": "id"}]


async def test_id_in_path_may_have_capital_letters(client: AsyncClient) -> None:
    book = await make_book(client)
    answer = await client.get(f"/books/{book['id'].upper()}")
    assert (answer.status_code, answer.json()) == (200, book)


async def test_list_author_books_contains_no_books_of_other_authors(client: AsyncClient) -> None:
    book = await make_book(client)
    await make_book(client, title="Kindred")
    page = (await client.get(f"/authors/{book['author_id']}/books")).json()
    assert (page["items"], page["total"]) == ([book], 1)


async def test_list_author_books_is_empty_for_author_without_books(client: AsyncClient) -> None:
    author = await make_author(client)
    answer = await client.get(f"/authors/{author['id']}/books")
    assert (answer.status_code, answer.json()["items"]) == (200, [])


async def test_list_author_books_returns_404_for_unknown_author(client: AsyncClient) -> None:
    answer = await client.get(f"/authors/{NOBODY}/books")
    assert check_problem(answer, 404, "not-found")["detail"] == "Author not found"
