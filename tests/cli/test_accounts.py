"""Tests of the commands `users` and `tokens`. Their output never contains a secret."""

import asyncio
import os
import pty

import asyncpg
import pytest
from httpx import AsyncClient, Response

from app.core.db import Database
from app.tokens import secret
from tests.support.clients_with_tokens import UserWithToken, create_user_with_token
from tests.support.commands import invoke_command
from tests.support.entity_case import UNKNOWN_ID
from tests.support.factories import Json, make_user
from tests.support.problems import check_problem
from tests.support.processes import TIMEOUT_SECONDS, CommandResult, spawn_command
from tests.support.settings import UNREACHABLE_DATABASE_URL

pytestmark = pytest.mark.private_database

EMAIL, PASSWORD = "grace@example.com", "nanosecond wire"
CREATE_ADMIN = ("users", "create-admin", EMAIL)
PASSWORD_LINE = f"{PASSWORD}\n".encode()


async def log_in(client: AsyncClient, email: str = EMAIL, password: str = PASSWORD) -> Response:
    return await client.post("/tokens", data={"username": email, "password": password})


async def read_own_user(client: AsyncClient, bearer: UserWithToken) -> Response:
    return await client.get("/users/me", headers=bearer.headers)


async def read_email(client: AsyncClient, bearer: UserWithToken) -> str:
    email: str = (await read_own_user(client, bearer)).json()["email"]
    return email


def error_message(result: CommandResult) -> str:
    """Return the error message of a failed command, which is its only output, in one line."""
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("bookshelf: ").strip()


async def test_create_admin_reads_password_from_first_line_of_standard_input(
    client: AsyncClient, database_url: str
) -> None:
    result = await invoke_command(
        *CREATE_ADMIN,
        "--name",
        "Grace Hopper",
        input=b"nanosecond wire\r\nmore\n",
        DATABASE_URL=database_url,
    )
    assert result == (0, f"Created the admin {EMAIL} with the id 1.\n", "")
    token = (await log_in(client)).json()["access_token"]
    own_user: Json = (
        await client.get("/users/me", headers={"Authorization": f"Bearer {token}"})
    ).json()
    assert (own_user["name"], own_user["email"], own_user["role"]) == (
        "Grace Hopper",
        EMAIL,
        "admin",
    )


@pytest.mark.parametrize("words", [(PASSWORD,), ("--password", PASSWORD)])
async def test_create_admin_does_not_accept_password_as_argument(
    words: tuple[str, ...], database_url: str
) -> None:
    code, out, err = await invoke_command(
        *CREATE_ADMIN, *words, input=PASSWORD_LINE, DATABASE_URL=database_url
    )
    assert (code, out) == (2, "")
    assert err.startswith("Usage: ")


INVALID_INPUTS = {
    "too short": ((EMAIL,), b"hunter2\n", "password: "),
    "too long": ((EMAIL,), b"x" * 129, "password: "),
    "nothing": ((EMAIL,), b"", "password: "),
    "an empty line": ((EMAIL,), b"\nnanosecond wire\n", "password: "),
    "NUL": ((EMAIL,), b"nanosecond\0wire\n", "password: Must not contain NUL characters"),
    "not UTF-8": ((EMAIL,), b"nanosecond \xff wire\n", "the password is not valid UTF-8"),
    "no email": (
        ("grace",),
        PASSWORD_LINE,
        "email: Must be an email address such as ada@example.com",
    ),
    "an email that is not UTF-8": (("\udcff@example.com",), PASSWORD_LINE, "email: "),
    "no name": ((EMAIL, "--name", ""), PASSWORD_LINE, "name: "),
}


async def test_create_admin_fails_with_one_line_without_the_password_for_invalid_input(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    for words, input_bytes, why in INVALID_INPUTS.values():
        result = await invoke_command(
            "users", "create-admin", *words, input=input_bytes, DATABASE_URL=database_url
        )
        assert error_message(result).startswith(why)
        for word in input_bytes.decode(errors="replace").split():
            assert word not in result.stderr
    assert await outside_connection.fetchval("SELECT count(*) FROM users") == 0


async def test_create_admin_fails_with_one_line_if_email_is_taken(
    client: AsyncClient, database_url: str
) -> None:
    user = await make_user(client, email="Grace@example.com")
    result = await invoke_command(*CREATE_ADMIN, input=PASSWORD_LINE, DATABASE_URL=database_url)
    assert error_message(result) == "Email already registered"
    assert (await client.get(f"/users/{user['id']}")).json() == user


async def create_admin_on_terminal(url: str, *lines: bytes) -> tuple[int | None, str]:
    """Run `users create-admin` on a terminal. Return the exit code and the output.

    The next line is typed at each prompt, and Ctrl-D after the last line.
    """
    controller, terminal = pty.openpty()
    process = await spawn_command(
        *CREATE_ADMIN,
        environment={"DATABASE_URL": url, "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        # Otherwise the command would prompt on the terminal of the tests.
        session=True,
    )
    os.close(terminal)

    def typing() -> bytes:
        shown, left = b"", list(lines)
        try:
            while piece := os.read(controller, 4096):
                shown += piece
                if shown.endswith(b": "):
                    os.write(controller, left.pop(0) if left else b"\x04")
        except OSError:
            # The command has closed the terminal.
            pass
        return shown

    async with asyncio.timeout(TIMEOUT_SECONDS):
        shown = await asyncio.to_thread(typing)
        code = await process.wait()
    os.close(controller)
    return code, shown.decode().replace("\r\n", "\n")


async def test_create_admin_prompts_twice_without_showing_the_password(
    client: AsyncClient, database_url: str
) -> None:
    code, shown = await create_admin_on_terminal(
        database_url, PASSWORD_LINE, b"nanosecond wier\n", PASSWORD_LINE, PASSWORD_LINE
    )
    prompts = "Password: \nRepeat for confirmation: \n"
    error = "Error: The two entered values do not match.\n"
    done = f"Created the admin {EMAIL} with the id 1.\n"
    assert (code, shown) == (0, prompts + error + prompts + done)
    assert (await log_in(client)).status_code == 201


async def test_create_admin_fails_with_one_line_if_typed_password_is_not_utf_8(
    database_url: str,
) -> None:
    code, shown = await create_admin_on_terminal(database_url, *[b"nanosecond w\xefre\n"] * 2)
    assert code == 1
    assert shown.splitlines()[2:] == ["bookshelf: the password is not valid UTF-8"]


async def test_set_role_changes_permissions_of_the_next_request(
    client: AsyncClient, database_url: str, database: Database
) -> None:
    bearer = await create_user_with_token(database, "member")
    email = await read_email(client, bearer)
    for role, status in (("editor", 201), ("member", 403)):
        result = await invoke_command(
            "users", "set-role", email.upper(), role, DATABASE_URL=database_url
        )
        assert result == (0, f"{email} now has the role {role}.\n", "")
        response = await client.post("/authors", json={"name": "Homer"}, headers=bearer.headers)
        assert response.status_code == status


async def test_set_role_finds_email_with_domain_in_punycode(
    client: AsyncClient, database_url: str
) -> None:
    user = await make_user(client, email="grace@bücher.example")
    result = await invoke_command(
        "users", "set-role", "grace@xn--bcher-kva.example", "editor", DATABASE_URL=database_url
    )
    assert result == (0, "grace@bücher.example now has the role editor.\n", "")
    assert (await client.get(f"/users/{user['id']}")).json()["role"] == "editor"


async def test_commands_fail_with_one_line_if_user_does_not_exist(database_url: str) -> None:
    for email in ("ada@example.com", "ada@", "@"):
        for command in (("users", "set-role", email, "editor"), ("tokens", "revoke", email)):
            result = await invoke_command(*command, DATABASE_URL=database_url)
            assert error_message(result) == f"No user has the email address {email}"


async def test_commands_fail_with_one_line_if_email_is_invalid(database_url: str) -> None:
    for email in ("\udcff@example.com", f"{'x' * 300}@a.b"):
        for command in (("users", "set-role", email, "editor"), ("tokens", "revoke", email)):
            result = await invoke_command(*command, DATABASE_URL=database_url)
            assert error_message(result) == "The email address is not valid"
    result = await invoke_command("users", "set-role", "", "editor", DATABASE_URL=database_url)
    assert error_message(result) == "The email address is not valid"


async def test_set_role_lists_the_roles_if_role_is_unknown(database_url: str) -> None:
    code, out, err = await invoke_command(
        "users", "set-role", EMAIL, "king", DATABASE_URL=database_url
    )
    assert (code, out) == (2, "")
    assert all(role in err for role in ("'member'", "'editor'", "'admin'"))


async def test_set_role_does_not_demote_the_last_admin(
    client: AsyncClient, database_url: str, database: Database
) -> None:
    first, second = (
        await create_user_with_token(database, "admin"),
        await create_user_with_token(database, "admin"),
    )
    demote = [
        ("users", "set-role", await read_email(client, each), "member") for each in (first, second)
    ]
    assert (await invoke_command(*demote[0], DATABASE_URL=database_url)).exit_code == 0
    result = await invoke_command(*demote[1], DATABASE_URL=database_url)
    assert error_message(result) == "The last admin can be neither deleted nor demoted"
    assert (await read_own_user(client, second)).json()["role"] == "admin"


async def test_revoke_by_email_revokes_all_tokens_of_this_user_only(
    client: AsyncClient, database_url: str, database: Database
) -> None:
    one, other_user = await create_user_with_token(database), await create_user_with_token(database)
    another = await create_user_with_token(database, user_id=one.user_id)
    email = (await read_email(client, one)).upper()
    result = await invoke_command("tokens", "revoke", email, DATABASE_URL=database_url)
    assert result == (0, "Tokens revoked: 2\n", "")
    for bearer in (one, another):
        check_problem(await read_own_user(client, bearer), 401, "unauthorized")
    assert (await read_own_user(client, other_user)).status_code == 200


async def test_revoke_by_id_revokes_one_token(
    client: AsyncClient, database_url: str, database: Database
) -> None:
    one = await create_user_with_token(database)
    [shown] = (await client.get("/tokens", headers=one.headers)).json()["items"]
    another = await create_user_with_token(database, user_id=one.user_id)
    for key, count in ((UNKNOWN_ID, 0), (shown["id"], 1), (shown["id"], 0)):
        result = await invoke_command("tokens", "revoke", key, DATABASE_URL=database_url)
        assert result == (0, f"Tokens revoked: {count}\n", "")
    check_problem(await read_own_user(client, one), 401, "unauthorized")
    assert (await read_own_user(client, another)).status_code == 200


async def test_revoke_from_standard_input_revokes_every_token_in_the_text(
    client: AsyncClient, database_url: str, database: Database
) -> None:
    *leaked, kept_user = [await create_user_with_token(database) for _ in range(5)]
    first, second, third, fourth = (each.token.encode() for each in leaked)
    prefix = secret.TOKEN_PREFIX.encode()
    input_bytes = b"".join([
        b"\xff\x00\x89PNG\r\n", first, b"\x80\xc3", b'{"a":"', second, b'"}', second,
        prefix + prefix, third.removeprefix(prefix), b"0f", b"\xf0\x9f",
        kept_user.token.encode()[:-1], b"\n", kept_user.token.upper().encode(), b"\n",
        secret.generate_token().encode(),
        b" " * 100_000, fourth,
    ])  # fmt: skip
    result = await invoke_command(
        "tokens", "revoke", "-", input=input_bytes, DATABASE_URL=database_url
    )
    assert result == (0, "Tokens revoked: 4\n", "")
    for bearer in leaked:
        check_problem(await read_own_user(client, bearer), 401, "unauthorized")
    assert (await read_own_user(client, kept_user)).status_code == 200


async def test_revoke_from_standard_input_accepts_many_tokens(
    database_url: str, database: Database
) -> None:
    leaked = await create_user_with_token(database)
    lines = [secret.generate_token() for _ in range(2**15)]
    input_bytes = "\n".join([*lines, leaked.token]).encode()
    result = await invoke_command(
        "tokens", "revoke", "-", input=input_bytes, DATABASE_URL=database_url
    )
    assert result == (0, "Tokens revoked: 1\n", "")


async def test_revoke_from_standard_input_accepts_text_without_tokens(
    database_url: str, database: Database
) -> None:
    await create_user_with_token(database)
    for input_bytes in (b"", b"bookshelf_"):
        result = await invoke_command(
            "tokens", "revoke", "-", input=input_bytes, DATABASE_URL=database_url
        )
        assert result == (0, "Tokens revoked: 0\n", "")


async def test_revoke_does_not_print_an_argument_that_may_be_a_token(
    client: AsyncClient, database_url: str, database: Database
) -> None:
    bearer = await create_user_with_token(database)
    for target in ("grace", "", "\udcff", bearer.token):
        result = await invoke_command("tokens", "revoke", target, DATABASE_URL=database_url)
        expected = "The argument is neither the id of a token nor an email address nor -"
        assert error_message(result) == expected
    assert (await read_own_user(client, bearer)).status_code == 200


COMMANDS = [
    CREATE_ADMIN,
    ("users", "set-role", EMAIL, "editor"),
    ("tokens", "revoke", EMAIL),
    ("tokens", "revoke", UNKNOWN_ID),
    ("tokens", "revoke", "-"),
]


async def test_account_commands_fail_with_one_line_if_database_is_not_usable(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute("UPDATE alembic_version SET version_num = '0003'")
    shown = "(postgresql+asyncpg://somebody:***@127.0.0.1:1/books)"
    for command in COMMANDS:
        result = await invoke_command(
            *command, input=PASSWORD_LINE, DATABASE_URL=UNREACHABLE_DATABASE_URL
        )
        assert error_message(result) == f"database: does not accept connections {shown}"
        result = await invoke_command(*command, input=PASSWORD_LINE, DATABASE_URL=database_url)
        assert error_message(result).startswith("database: its schema is at revision 0003, not at ")
        assert error_message(result).endswith(": run python -m app migrate")
