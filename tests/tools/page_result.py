"""Tests of the service after the steps of docs/adding-an-entity.md: publishers and tags of books.

`test_adding_an_entity.py` runs these tests in the copy of the repository that it has made from the
page, under a name that pytest collects.
"""

import csv
from io import StringIO

from httpx import AsyncClient

from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import Json, make_author, make_book
from tests.support.problems import check_problem, field_error_locations


async def create(client: AsyncClient, path: str, **values: object) -> Json:
    response = await client.post(path, json=values)
    assert response.status_code == 201, response.text
    body: Json = response.json()
    return body


async def read_etag(client: AsyncClient, path: str) -> str:
    response = await client.get(path)
    assert response.headers["etag"] == f'"{response.json()["version"]}"'
    etag: str = response.headers["etag"]
    return etag


async def assert_changed(client: AsyncClient, path: str, etag: str) -> str:
    """Assert that neither a cache nor a conditional write accepts an old ETag. Return the new."""
    response = await client.get(path, headers={"If-None-Match": etag})
    assert response.status_code == 200
    refused = await client.patch(path, json={"title": "Stale"}, headers={"If-Match": etag})
    check_problem(refused, 412, "precondition-failed")
    current: str = response.headers["etag"]
    unchanged = await client.get(path, headers={"If-None-Match": current})
    assert unchanged.status_code == 304
    return current


# The plain entity


async def test_second_publisher_with_same_name_returns_409(client: AsyncClient) -> None:
    await create(client, "/publishers", name="Penguin", country="GB")
    response = await client.post("/publishers", json={"name": "Penguin", "country": "IE"})
    problem = check_problem(response, 409, "conflict")
    assert problem["detail"] == "Another publisher has this name"


async def test_country_must_be_a_code(client: AsyncClient) -> None:
    response = await client.post("/publishers", json={"name": "Penguin", "country": "gb"})
    assert field_error_locations(response) == [{"pointer": "/country"}]
    publisher = await create(client, "/publishers", name="Penguin", country="GB")
    path = f"/publishers/{publisher['id']}"
    assert (await client.patch(path, json={"country": None})).status_code == 422


# The optional relation


async def test_book_contains_its_publisher_and_changes_with_it(client: AsyncClient) -> None:
    book = await make_book(client)
    path = f"/books/{book['id']}"
    assert (book["publisher_id"], book["publisher"]) == (None, None)
    etag = await read_etag(client, path)

    publisher = await create(client, "/publishers", name="Penguin", country="GB")
    await client.patch(path, json={"publisher_id": publisher["id"]})
    etag = await assert_changed(client, path, etag)
    shown = (await client.get(path)).json()["publisher"]
    assert shown == {"name": "Penguin", "country": "GB"}

    await client.patch(f"/publishers/{publisher['id']}", json={"name": "Puffin"})
    etag = await assert_changed(client, path, etag)
    assert (await client.get(path)).json()["publisher"]["name"] == "Puffin"

    await client.delete(f"/publishers/{publisher['id']}")
    await assert_changed(client, path, etag)
    assert (await client.get(path)).json()["publisher"] is None


async def test_unknown_publisher_is_a_field_error_also_in_a_batch(client: AsyncClient) -> None:
    author = (await make_author(client))["id"]
    good = {"title": "Emma", "author_id": author}
    response = await client.post("/books", json={**good, "publisher_id": UNKNOWN_ID})
    assert field_error_locations(response) == [{"pointer": "/publisher_id"}]
    items = [good, {**good, "publisher_id": UNKNOWN_ID}]
    response = await client.post("/books/batch", json={"items": items})
    assert field_error_locations(response) == [{"pointer": "/items/1/publisher_id"}]
    assert response.json()["errors"][0]["code"] == "publisher_not_found"


async def test_books_of_a_publisher_can_be_listed(client: AsyncClient) -> None:
    publisher = await create(client, "/publishers", name="Penguin", country="GB")
    author = (await make_author(client))["id"]
    await make_book(client, author_id=author)
    book = await create(
        client, "/books", title="Emma", author_id=author, publisher_id=publisher["id"]
    )
    page = (await client.get(f"/books?publisher_id={publisher['id']}")).json()
    assert page["items"] == [book]


async def test_csv_has_columns_of_the_publisher_and_json_of_the_tags(client: AsyncClient) -> None:
    publisher = await create(client, "/publishers", name="Penguin", country="GB")
    tag = await create(client, "/tags", name="Novel")
    author = (await make_author(client))["id"]
    await make_book(client, author_id=author)
    await create(
        client,
        "/books",
        title="Emma",
        author_id=author,
        publisher_id=publisher["id"],
        tag_ids=[tag["id"]],
    )
    response = await client.get("/books.csv?sort=-created_at")
    full, empty = csv.DictReader(StringIO(response.text))
    assert [full[name] for name in ("publisher_id", "publisher_name", "publisher_country")] == [
        *(publisher["id"], "Penguin", "GB")
    ]
    assert full["tags"] == f'[{{"id": "{tag["id"]}", "name": "Novel"}}]'
    assert [empty["publisher_id"], empty["publisher_name"], empty["tags"]] == ["", "", "[]"]
    headers = {"If-Match": f'"{full["version"]}"'}
    assert (await client.delete(f"/books/{full['id']}", headers=headers)).status_code == 204


# The many-to-many relation


async def test_update_replaces_all_tags_of_a_book_and_changes_its_etag(client: AsyncClient) -> None:
    novel, classic = [await create(client, "/tags", name=name) for name in ("Novel", "Classic")]
    book = await create(
        client,
        "/books",
        title="Emma",
        author_id=(await make_author(client))["id"],
        tag_ids=[novel["id"], classic["id"]],
    )
    path = f"/books/{book['id']}"
    assert [tag["name"] for tag in book["tags"]] == ["Novel", "Classic"]
    etag = await read_etag(client, path)

    conditional = {"If-Match": etag}
    response = await client.patch(path, json={"tag_ids": [novel["id"]]}, headers=conditional)
    assert [tag["name"] for tag in response.json()["tags"]] == ["Novel"]
    etag = await assert_changed(client, path, etag)

    await client.patch(f"/tags/{novel['id']}", json={"name": "Fiction"})
    etag = await assert_changed(client, path, etag)
    assert (await client.patch(path, json={"title": "Emma"})).json()["tags"][0]["name"] == "Fiction"

    problem = check_problem(await client.delete(f"/tags/{novel['id']}"), 409, "conflict")
    assert problem["detail"] == "The tag cannot be deleted while book tags refer to it"
    assert (await client.delete(f"/tags/{classic['id']}")).status_code == 204


async def test_unknown_tag_is_a_field_error_and_nothing_is_written(client: AsyncClient) -> None:
    tag = (await create(client, "/tags", name="Novel"))["id"]
    good = {"title": "Emma", "author_id": (await make_author(client))["id"]}
    response = await client.post("/books", json={**good, "tag_ids": [tag, UNKNOWN_ID]})
    assert field_error_locations(response) == [{"pointer": "/tag_ids/1"}]
    items = [{**good, "tag_ids": [tag]}, {**good, "tag_ids": [UNKNOWN_ID]}]
    response = await client.post("/books/batch", json={"items": items})
    assert field_error_locations(response) == [{"pointer": "/items/1/tag_ids/0"}]
    assert (await client.get("/books")).json()["total"] == 0
    items[1]["tag_ids"] = []
    response = await client.post("/books/batch", json={"items": items})
    assert [len(book["tags"]) for book in response.json()["items"]] == [1, 0]
