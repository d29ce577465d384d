"""Who may what, by the command line; of what is secret it never says anything."""

import asyncio
import os
import pty

import asyncpg
import pytest
from httpx import AsyncClient, Response

from app.core.db import Database
from app.tokens import secret
from tests.cli.test_import import UNREACHABLE
from tests.support.clients_with_tokens import UserWithToken, create_user_with_token
from tests.support.commands import invoke_command
from tests.support.factories import Json, make_user
from tests.support.problems import check_problem
from tests.support.processes import TIMEOUT_SECONDS, CommandResult, spawn_command

pytestmark = pytest.mark.private_database

EMAIL, PASSWORD = "grace@example.com", "nanosecond wire"
CREATE = ("users", "create-admin", EMAIL)
TYPED = f"{PASSWORD}\n".encode()
UNKNOWN = "01890000-0000-7000-8000-000000000000"


async def log_in(client: AsyncClient, email: str = EMAIL, password: str = PASSWORD) -> Response:
    return await client.post("/tokens", data={"username": email, "password": password})


async def me(client: AsyncClient, bearer: UserWithToken) -> Response:
    return await client.get("/users/me", headers=bearer.headers)


async def email_of(client: AsyncClient, bearer: UserWithToken) -> str:
    found: str = (await me(client, bearer)).json()["email"]
    return found


def sentence(answer: CommandResult) -> str:
    """All that a command said that failed."""
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert answer.stderr.count("\n") == 1
    return answer.stderr.removeprefix("bookshelf: ").strip()


async def test_create_admin_reads_password_from_first_line_of_standard_input(
    client: AsyncClient, database_url: str
) -> None:
    answer = await invoke_command(
        *CREATE,
        "--name",
        "Grace Hopper",
        input=b"nanosecond wire\r\nmore\n",
        DATABASE_URL=database_url,
    )
    assert answer == (0, f"Created the admin {EMAIL} with the id 1.\n", "")
    token = (await log_in(client)).json()["access_token"]
    found: Json = (
        await client.get("/users/me", headers={"Authorization": f"Bearer {token}"})
    ).json()
    assert (found["name"], found["email"], found["role"]) == ("Grace Hopper", EMAIL, "admin")


@pytest.mark.parametrize("words", [(PASSWORD,), ("--password", PASSWORD)])
async def test_create_admin_does_not_accept_password_as_argument(
    words: tuple[str, ...], database_url: str
) -> None:
    code, out, err = await invoke_command(*CREATE, *words, input=TYPED, DATABASE_URL=database_url)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: ")


REFUSED = {
    "too short": ((EMAIL,), b"hunter2\n", "password: "),
    "too long": ((EMAIL,), b"x" * 129, "password: "),
    "nothing": ((EMAIL,), b"", "password: "),
    "an empty line": ((EMAIL,), b"\nnanosecond wire\n", "password: "),
    "NUL": ((EMAIL,), b"nanosecond\0wire\n", "password: Must not contain NUL characters"),
    "not UTF-8": ((EMAIL,), b"nanosecond \xff wire\n", "the password is not valid UTF-8"),
    "no email": (("grace",), TYPED, "email: Must be an email address such as ada@example.com"),
    "an email that is not UTF-8": (("\udcff@example.com",), TYPED, "email: "),
    "no name": ((EMAIL, "--name", ""), TYPED, "name: "),
}


async def test_create_admin_fails_with_one_line_without_the_password_for_invalid_input(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    for words, given, why in REFUSED.values():
        answer = await invoke_command(
            "users", "create-admin", *words, input=given, DATABASE_URL=database_url
        )
        assert sentence(answer).startswith(why)
        for word in given.decode(errors="replace").split():
            assert word not in answer.stderr
    assert await outside_connection.fetchval("SELECT count(*) FROM users") == 0


async def test_create_admin_fails_with_one_line_if_email_is_taken(
    client: AsyncClient, database_url: str
) -> None:
    user = await make_user(client, email="Grace@example.com")
    answer = await invoke_command(*CREATE, input=TYPED, DATABASE_URL=database_url)
    assert sentence(answer) == "Email already registered"
    assert (await client.get(f"/users/{user['id']}")).json() == user


async def on_a_terminal(url: str, *lines: bytes) -> tuple[int | None, str]:
    """The command on a terminal, where each line is typed when it is asked for, then Ctrl-D."""
    controller, terminal = pty.openpty()
    process = await spawn_command(
        *CREATE,
        environment={"DATABASE_URL": url, "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        session=True,  # or it would ask at the terminal of whoever runs the tests
    )
    os.close(terminal)

    def typing() -> bytes:
        shown, left = b"", list(lines)
        try:
            while piece := os.read(controller, 4096):
                shown += piece
                if shown.endswith(b": "):
                    os.write(controller, left.pop(0) if left else b"\x04")
        except OSError:  # the other end is closed
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
    code, shown = await on_a_terminal(database_url, TYPED, b"nanosecond wier\n", TYPED, TYPED)
    asked = "Password: \nRepeat for confirmation: \n"
    error = "Error: The two entered values do not match.\n"
    done = f"Created the admin {EMAIL} with the id 1.\n"
    assert (code, shown) == (0, asked + error + asked + done)
    assert (await log_in(client)).status_code == 201


async def test_create_admin_fails_with_one_line_if_typed_password_is_not_utf_8(
    database_url: str,
) -> None:
    code, shown = await on_a_terminal(database_url, *[b"nanosecond w\xefre\n"] * 2)
    assert code == 1
    assert shown.splitlines()[2:] == ["bookshelf: the password is not valid UTF-8"]


async def test_set_role_changes_permissions_of_the_next_request(
    client: AsyncClient, database_url: str, database: Database
) -> None:
    bearer = await create_user_with_token(database, "member")
    email = await email_of(client, bearer)
    for role, status in (("editor", 201), ("member", 403)):
        answer = await invoke_command(
            "users", "set-role", email.upper(), role, DATABASE_URL=database_url
        )
        assert answer == (0, f"{email} now has the role {role}.\n", "")
        made = await client.post("/authors", json={"name": "Homer"}, headers=bearer.headers)
        assert made.status_code == status


async def test_commands_fail_with_one_line_if_user_does_not_exist(database_url: str) -> None:
    for email in ("ada@example.com", "ada@", "@"):
        for command in (("users", "set-role", email, "editor"), ("tokens", "revoke", email)):
            answer = await invoke_command(*command, DATABASE_URL=database_url)
            assert sentence(answer) == f"There is no user with the email address {email}"


async def test_commands_fail_with_one_line_if_email_is_invalid(database_url: str) -> None:
    for email in ("\udcff@example.com", f"{'x' * 300}@a.b"):
        for command in (("users", "set-role", email, "editor"), ("tokens", "revoke", email)):
            answer = await invoke_command(*command, DATABASE_URL=database_url)
            assert sentence(answer) == "The email address is not valid"
    answer = await invoke_command("users", "set-role", "", "editor", DATABASE_URL=database_url)
    assert sentence(answer) == "The email address is not valid"


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
        ("users", "set-role", await email_of(client, each), "member") for each in (first, second)
    ]
    assert (await invoke_command(*demote[0], DATABASE_URL=database_url)).exit_code == 0
    answer = await invoke_command(*demote[1], DATABASE_URL=database_url)
    assert sentence(answer) == "The last admin can be neither deleted nor demoted"
    assert (await me(client, second)).json()["role"] == "admin"


async def test_revoke_by_email_revokes_all_tokens_of_this_user_only(
    client: AsyncClient, database_url: str, database: Database
) -> None:
    one, bobs = await create_user_with_token(database), await create_user_with_token(database)
    another = await create_user_with_token(database, user_id=one.user_id)
    email = (await email_of(client, one)).upper()
    answer = await invoke_command("tokens", "revoke", email, DATABASE_URL=database_url)
    assert answer == (0, "Tokens revoked: 2\n", "")
    for bearer in (one, another):
        check_problem(await me(client, bearer), 401, "unauthorized")
    assert (await me(client, bobs)).status_code == 200


async def test_revoke_by_id_revokes_one_token(
    client: AsyncClient, database_url: str, database: Database
) -> None:
    one = await create_user_with_token(database)
    [shown] = (await client.get("/tokens", headers=one.headers)).json()["items"]
    another = await create_user_with_token(database, user_id=one.user_id)
    for key, count in ((UNKNOWN, 0), (shown["id"], 1), (shown["id"], 0)):
        answer = await invoke_command("tokens", "revoke", key, DATABASE_URL=database_url)
        assert answer == (0, f"Tokens revoked: {count}\n", "")
    check_problem(await me(client, one), 401, "unauthorized")
    assert (await me(client, another)).status_code == 200


async def test_revoke_from_standard_input_revokes_every_token_in_the_text(
    client: AsyncClient, database_url: str, database: Database
) -> None:
    *leaked, kept = [await create_user_with_token(database) for _ in range(5)]
    first, second, third, fourth = (each.token.encode() for each in leaked)
    prefix = secret.TOKEN_PREFIX.encode()
    given = b"".join([
        b"\xff\x00\x89PNG\r\n", first, b"\x80\xc3", b'{"a":"', second, b'"}', second,
        prefix + prefix, third.removeprefix(prefix), b"0f", b"\xf0\x9f",
        kept.token.encode()[:-1], b"\n", kept.token.upper().encode(), b"\n",
        secret.generate_token().encode(),
        b" " * 100_000, fourth,
    ])  # fmt: skip
    answer = await invoke_command("tokens", "revoke", "-", input=given, DATABASE_URL=database_url)
    assert answer == (0, "Tokens revoked: 4\n", "")
    for bearer in leaked:
        check_problem(await me(client, bearer), 401, "unauthorized")
    assert (await me(client, kept)).status_code == 200


async def test_revoke_from_standard_input_accepts_many_tokens(
    database_url: str, database: Database
) -> None:
    leaked = await create_user_with_token(database)
    lines = [secret.generate_token() for _ in range(2**15)]
    given = "\n".join([*lines, leaked.token]).encode()
    answer = await invoke_command("tokens", "revoke", "-", input=given, DATABASE_URL=database_url)
    assert answer == (0, "Tokens revoked: 1\n", "")


async def test_revoke_from_standard_input_accepts_text_without_tokens(
    database_url: str, database: Database
) -> None:
    await create_user_with_token(database)
    for given in (b"", b"bookshelf_"):
        answer = await invoke_command(
            "tokens", "revoke", "-", input=given, DATABASE_URL=database_url
        )
        assert answer == (0, "Tokens revoked: 0\n", "")


async def test_revoke_does_not_print_an_argument_that_may_be_a_token(
    client: AsyncClient, database_url: str, database: Database
) -> None:
    bearer = await create_user_with_token(database)
    for which in ("grace", "", "\udcff", bearer.token):
        answer = await invoke_command("tokens", "revoke", which, DATABASE_URL=database_url)
        expected = "The argument is neither the id of a token nor an email address nor -"
        assert sentence(answer) == expected
    assert (await me(client, bearer)).status_code == 200


COMMANDS = [
    CREATE,
    ("users", "set-role", EMAIL, "editor"),
    ("tokens", "revoke", EMAIL),
    ("tokens", "revoke", UNKNOWN),
    ("tokens", "revoke", "-"),
]


async def test_account_commands_fail_with_one_line_if_database_is_not_usable(
    database_url: str, outside_connection: asyncpg.Connection
) -> None:
    await outside_connection.execute("UPDATE alembic_version SET version_num = '0003'")
    shown = "(postgresql+asyncpg://somebody:***@127.0.0.1:1/books)"
    for command in COMMANDS:
        answer = await invoke_command(*command, input=TYPED, DATABASE_URL=UNREACHABLE)
        assert sentence(answer) == f"database: does not respond {shown}"
        answer = await invoke_command(*command, input=TYPED, DATABASE_URL=database_url)
        assert sentence(answer).startswith("database: its schema is at revision 0003, not at ")
        assert sentence(answer).endswith(": run python -m app migrate")
