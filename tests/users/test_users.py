"""The endpoints of users, and the password hashes in the database."""

import asyncio
from collections import Counter

import pytest
from httpx import AsyncClient
from sqlalchemy import text

from app.core.db import Database
from tests.support.accounts import add_user, log_in
from tests.support.factories import make_user
from tests.support.problems import check_problem, field_error_locations

MAX_ID = 2**63 - 1


async def fetch_hash(database: Database, user_id: int) -> str:
    statement = text("SELECT password_hash FROM users WHERE id = :id")
    rows = await database.reads.execute(statement, {"id": user_id})
    return str(rows[0]["password_hash"])


async def test_created_user_can_be_read_at_its_location(client: AsyncClient) -> None:
    body = {"name": "Ada Lovelace", "email": "ada@example.com", "password": "correct horse"}
    response = await client.post("/users", json=body)
    assert response.status_code == 201
    user = response.json()
    assert list(user) == ["id", "name", "email", "role", "created_at", "updated_at", "version"]
    assert (user["name"], user["email"]) == ("Ada Lovelace", "ada@example.com")
    assert isinstance(user["id"], int)
    assert response.headers["location"] == f"/users/{user['id']}"
    assert response.headers["etag"] == '"1"'
    second_response = await client.get(response.headers["location"])
    assert (second_response.status_code, second_response.json()) == (200, user)


async def test_responses_with_users_must_not_be_stored(client: AsyncClient) -> None:
    path = f"/users/{(await make_user(client))['id']}"
    body = {"name": "Bob", "email": "bob@example.com", "password": "correct horse"}
    for response in (
        await client.post("/users", json=body),
        await client.get(path),
        await client.head(path),
        await client.get("/users"),
        await client.patch(path, json={"name": "Ada"}),
        await client.get(path, headers={"If-None-Match": "*"}),
    ):
        assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("email", ["ada@example.com", "ADA@example.com", "Ada@EXAMPLE.COM"])
async def test_create_returns_409_when_email_is_taken_ignoring_case(
    client: AsyncClient, email: str
) -> None:
    await make_user(client, email="ada@example.com")
    body = {"name": "Another", "email": email, "password": "correct horse"}
    problem = check_problem(await client.post("/users", json=body), 409, "email-taken")
    assert problem["title"] == "Email taken"
    assert problem["detail"] == "Email already registered"


async def test_update_returns_409_when_email_is_taken(client: AsyncClient) -> None:
    await make_user(client, email="ada@example.com")
    bob = await make_user(client, email="bob@example.com")
    response = await client.patch(f"/users/{bob['id']}", json={"email": "ADA@example.com"})
    assert check_problem(response, 409, "email-taken")["detail"] == "Email already registered"
    assert (await client.get(f"/users/{bob['id']}")).json() == bob


async def test_user_can_change_the_case_of_their_email(client: AsyncClient) -> None:
    user = await make_user(client, email="ada@example.com")
    response = await client.patch(f"/users/{user['id']}", json={"email": "Ada@example.com"})
    assert (response.status_code, response.json()["email"]) == (200, "Ada@example.com")


async def test_email_of_deleted_user_can_be_registered_again(client: AsyncClient) -> None:
    user = await make_user(client)
    assert (await client.delete(f"/users/{user['id']}")).status_code == 204
    new_user = await make_user(client)
    assert new_user["id"] != user["id"]


@pytest.mark.parametrize(
    ("email", "normalized_email"),
    [
        ("Ada@EXAMPLE.com", "Ada@example.com"),
        ("ada@BÜCHER.example", "ada@bücher.example"),
        ("ada@xn--bcher-kva.example", "ada@bücher.example"),
        ("e\u0301milie@example.com", "\u00e9milie@example.com"),
    ],
)
async def test_email_is_normalized(client: AsyncClient, email: str, normalized_email: str) -> None:
    user = await make_user(client, email=email)
    assert user["email"] == normalized_email
    patched = await client.patch(f"/users/{user['id']}", json={"email": email})
    assert patched.json()["email"] == normalized_email


@pytest.mark.parametrize(
    "email",
    [
        "",
        "a@b",
        "ada",
        "ada@",
        "@example.com",
        " ada@example.com",
        "ada@example.com ",
        "ada@example.com\n",
        "ada lovelace@example.com",
        "Ada <ada@example.com>",
        "ada@example..com",
        "ada@-example.com",
        "ada@[127.0.0.1]",
        "ada@example.com,bob@example.com",
        "ada\0@example.com",
    ],
)
async def test_invalid_email_returns_422(client: AsyncClient, email: str) -> None:
    user = await make_user(client)
    body = {"name": "Ada", "email": email, "password": "correct horse"}
    assert field_error_locations(await client.post("/users", json=body)) == [{"pointer": "/email"}]
    patch = await client.patch(f"/users/{user['id']}", json={"email": email})
    assert field_error_locations(patch) == [{"pointer": "/email"}]


@pytest.mark.parametrize("length", [8, 128])
async def test_password_of_8_to_128_characters_is_accepted(
    client: AsyncClient, length: int
) -> None:
    user = await make_user(client, password="é" * length)  # characters count, not bytes
    patch = await client.patch(f"/users/{user['id']}", json={"password": "😀" * length})
    assert patch.status_code == 200


@pytest.mark.parametrize("length", [0, 7, 129])
async def test_shorter_or_longer_password_returns_422(client: AsyncClient, length: int) -> None:
    user = await make_user(client)
    body = {"name": "Bob", "email": "bob@example.com", "password": "p" * length}
    assert field_error_locations(await client.post("/users", json=body)) == [
        {"pointer": "/password"}
    ]
    patch = await client.patch(f"/users/{user['id']}", json={"password": "p" * length})
    assert field_error_locations(patch) == [{"pointer": "/password"}]


async def test_no_response_contains_the_password(client: AsyncClient) -> None:
    password = "correct horse battery staple"
    user = await make_user(client, password=password)
    path, body = f"/users/{user['id']}", {"name": "Ada", "email": "ada@example.com"}
    responses = [
        await client.get(path),
        await client.get("/users"),
        await client.patch(path, json={"password": password}),
        await client.patch(path, json={"password": password, "name": None}),
        await client.post("/users", json=body | {"password": password}),
        await client.post("/users", json=body | {"password": password, "email": "x"}),
        await client.post("/users", json=body | {"password": password * 10}),
        await client.post("/users", json=body | {"password": [password]}),
        await client.post("/users", json=body | {"password": password + "\0"}),
        await client.post("/users", json=[password]),
        await client.get("/users", params={"password": password}),
    ]
    assert [response.status_code for response in responses] == [200] * 3 + [422, 409] + [422] * 6
    for response in responses:
        assert "correct horse" not in response.text
        assert "argon2" not in response.text
    assert '"password' not in responses[0].text


async def test_password_is_stored_as_argon2id_hash_with_owasp_parameters(
    client: AsyncClient, database: Database
) -> None:
    user = await make_user(client)
    assert (await fetch_hash(database, user["id"])).startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_equal_passwords_have_different_hashes(
    client: AsyncClient, database: Database
) -> None:
    ada = await make_user(client, email="ada@example.com")
    bob = await make_user(client, email="bob@example.com")
    assert await fetch_hash(database, ada["id"]) != await fetch_hash(database, bob["id"])


async def test_changing_password_changes_the_hash_and_the_version(
    client: AsyncClient, database: Database
) -> None:
    user = await make_user(client)
    before = await fetch_hash(database, user["id"])
    response = await client.patch(f"/users/{user['id']}", json={"password": "battery staple"})
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    after = await fetch_hash(database, user["id"])
    assert after != before
    assert after.startswith("$argon2id$")


@pytest.mark.parametrize("body", [{}, {"name": "Ada"}, {"email": "countess@example.com"}])
async def test_update_without_password_keeps_the_hash(
    client: AsyncClient, database: Database, body: dict[str, str]
) -> None:
    user = await make_user(client)
    before = await fetch_hash(database, user["id"])
    response = await client.patch(f"/users/{user['id']}", json=body)
    assert response.status_code == 200
    assert response.headers["etag"] == ('"2"' if body else '"1"')
    assert await fetch_hash(database, user["id"]) == before


async def test_changing_password_with_stale_etag_keeps_the_hash(
    client: AsyncClient, database: Database
) -> None:
    user = await make_user(client)
    before = await fetch_hash(database, user["id"])
    response = await client.patch(
        f"/users/{user['id']}", json={"password": "battery staple"}, headers={"If-Match": '"7"'}
    )
    check_problem(response, 412, "precondition-failed")
    assert await fetch_hash(database, user["id"]) == before


@pytest.mark.parametrize(
    "invalid_id",
    [
        *("0", "-1", "01", "+1", "1.0", "1e3", "1_0", "%201", "1%20", "1%0A", "٣", "x", "0x1"),
        str(MAX_ID + 1),
        "9" * 5000,
    ],
)
async def test_invalid_id_returns_422(client: AsyncClient, invalid_id: str) -> None:
    for response in (
        await client.get(f"/users/{invalid_id}"),
        await client.patch(f"/users/{invalid_id}", json={}),
        await client.delete(f"/users/{invalid_id}"),
    ):
        assert field_error_locations(response) == [{"parameter": "id"}]


@pytest.mark.parametrize("unknown_id", [1_000_000_000, MAX_ID])
async def test_unknown_user_returns_404(client: AsyncClient, unknown_id: int) -> None:
    for response in (
        await client.get(f"/users/{unknown_id}"),
        await client.patch(f"/users/{unknown_id}", json={}),
        await client.patch(f"/users/{unknown_id}", json={"name": "x"}),
        await client.patch(f"/users/{unknown_id}", json={"password": "correct horse"}),
        await client.delete(f"/users/{unknown_id}"),
    ):
        assert check_problem(response, 404, "not-found")["detail"] == "User not found"


async def test_deleted_user_returns_404(client: AsyncClient) -> None:
    user = await make_user(client)
    response = await client.delete(f"/users/{user['id']}")
    assert (response.status_code, response.content) == (204, b"")
    assert (await client.get(f"/users/{user['id']}")).status_code == 404


# Addresses that registration treats as the same.
EQUAL_EMAILS = [
    ("ada@bücher.example", "ada@xn--bcher-kva.example"),
    ("ada@xn--bcher-kva.example", "ada@bücher.example"),
    ("ada@bücher.example", "ADA@XN--BCHER-KVA.EXAMPLE"),
    ("ada@bücher.example", "ada@BÜCHER.example"),
    ("ada@bücher.example", "ada@bu\u0308cher.example"),
    ("ada@例え.example", "ada@例え\u3002example"),
    ("ada@example.com", "ada@\uff45xample.com"),
    ("\u00e9milie@example.com", "e\u0301milie@example.com"),
    ("e\u0301milie@example.com", "\u00e9milie@EXAMPLE.com"),
    ("Ada@example.com", "aDA@example.COM"),
]


@pytest.mark.parametrize(("registered", "sent"), EQUAL_EMAILS)
async def test_email_filter_finds_address_that_registration_treats_as_equal(
    client: AsyncClient, registered: str, sent: str
) -> None:
    user = await make_user(client, email=registered)
    body = {"name": "Another", "email": sent, "password": "correct horse"}
    check_problem(await client.post("/users", json=body), 409, "email-taken")
    assert (await log_in(client, sent)).status_code == 201
    page = (await client.get("/users", params={"email": sent})).json()
    assert (page["items"], page["total"]) == ([user], 1)


@pytest.mark.parametrize(
    "email",
    [
        '"ada"@example.com',
        "Ada <ada@example.com>",
        " ada@example.com",
        "ada@example.com.",
        "ada@[192.0.2.1]",
        "ada@ex ample.com",
        "ada",
    ],
)
async def test_email_filter_finds_nobody_for_invalid_address(
    client: AsyncClient, email: str
) -> None:
    await make_user(client, email="ada@example.com")
    page = (await client.get("/users", params={"email": email})).json()
    assert (page["items"], page["total"]) == ([], 0)


async def test_email_filter_finds_stored_address_that_is_no_longer_valid(
    client: AsyncClient, database: Database
) -> None:
    user_id = await add_user(database, "root@localhost")
    page = (await client.get("/users", params={"email": "Root@localhost"})).json()
    assert [user["id"] for user in page["items"]] == [user_id]


async def test_list_can_be_filtered_by_email_ignoring_case(client: AsyncClient) -> None:
    user = await make_user(client, email="ada@example.com")
    await make_user(client, email="bob@example.com")
    page = (await client.get("/users", params={"email": "ADA@Example.com"})).json()
    assert page["items"] == [user]


@pytest.mark.private_database
async def test_one_of_concurrent_registrations_of_an_email_succeeds(client: AsyncClient) -> None:
    bodies = (
        {"name": "Ada", "email": email, "password": "correct horse"}
        for email in ["ada@example.com", "ADA@example.com"] * 10
    )
    responses = await asyncio.gather(*(client.post("/users", json=body) for body in bodies))
    assert Counter(response.status_code for response in responses) == {201: 1, 409: 19}
    assert (await client.get("/users")).json()["total"] == 1


@pytest.mark.parametrize("id_parameter", ["1", "01890000-0000-7000-8000-000000000000"])
async def test_list_cannot_be_filtered_by_id(client: AsyncClient, id_parameter: str) -> None:
    await make_user(client)
    assert field_error_locations(await client.get("/users", params={"id": id_parameter})) == [
        {"parameter": "id"}
    ]
