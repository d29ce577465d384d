"""The commands `users` and `tokens`: accounts, their roles and the tokens of users."""

import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, TypeVar
from uuid import UUID

import typer
from pydantic import ValidationError

from app.cli import runtime
from app.core.access import CLI_PRINCIPAL, Role
from app.core.db import TransactionSession
from app.core.errors import NotFound, reason
from app.tokens.service import TokenRevocation
from app.users.passwords import PasswordHasher
from app.users.schemas import UserCreate, UserQuery, UserRead, UserUpdate
from app.users.service import UserService

T = TypeVar("T")
users = typer.Typer(help="Accounts and their roles.", no_args_is_help=True)
tokens = typer.Typer(help="What lets its bearer in.", no_args_is_help=True)
STANDARD_INPUT: Final = "-"
Email = Annotated[str, typer.Argument(help="The user's email.")]


@users.command(name="create-admin")
def create_admin(
    email: Email, name: Annotated[str, typer.Option(help="The user's name.")] = "Admin"
) -> None:
    """Add a user who may do everything. A prompt asks for the password; or standard input."""
    fields = {"email": email, "name": name, "password": _read_password(), "role": Role.ADMIN}
    try:
        data = UserCreate.model_validate(fields)
    except ValidationError as error:
        faults = [f"{item['loc'][0]}: {reason(item)}" for item in error.errors()]
        runtime.fail("; ".join(faults))
    created = _with_users(lambda users, _: users.create(data))
    typer.echo(f"{created.email} is an admin, with the id {created.id}.")


@users.command(name="set-role")
def set_role(email: Email, role: Role) -> None:
    """Make a user a member, an editor or an admin; it holds from the next request."""

    async def change(users: UserService, _: TransactionSession) -> UserRead:
        user = await _by_email(users, email)
        return await users.update(user.id, UserUpdate.model_validate({"role": role}))

    changed = _with_users(change)
    article = "a" if role is Role.MEMBER else "an"
    typer.echo(f"{changed.email} is {article} {changed.role}.")


@tokens.command()
def revoke(
    which: Annotated[
        str,
        typer.Argument(
            help="The email of a user, for all of theirs; the id of one; or - for all that are"
            " anywhere in standard input, as in a log."
        ),
    ],
) -> None:
    """Revoke tokens, at once and everywhere."""
    text = sys.stdin.buffer.read().decode("ascii", "replace") if which == STANDARD_INPUT else ""

    async def remove(found: UserService, session: TransactionSession) -> int:
        revocation = TokenRevocation(session)
        if which == STANDARD_INPUT:
            return await revocation.revoke_leaked(text)
        if "@" in which:
            return await revocation.revoke_by_user((await _by_email(found, which)).id)
        try:
            return await revocation.revoke_by_id(UUID(which))
        except ValueError:
            raise NotFound("There is no such token: give an id, an email or -") from None

    typer.echo(f"Tokens revoked: {_with_users(remove)}")


def _read_password() -> str:
    """Ask for a password, or read the first line of standard input.

    It is not an argument because arguments stay in the shell's history, and every process can see
    them.
    """
    try:
        if sys.stdin.isatty():
            password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        else:
            password = sys.stdin.buffer.readline().decode().rstrip("\r\n")
        # A terminal's bytes that are not UTF-8 arrive as surrogates, which cannot be encoded.
        password.encode()
    except UnicodeError:
        runtime.fail("the password is not UTF-8")
    return password


def _with_users(work: Callable[[UserService, TransactionSession], Awaitable[T]]) -> T:
    """Do work in a transaction, as the operator of the service, and return its result."""
    passwords = PasswordHasher()

    async def work_in_transaction() -> T:
        async with runtime.transaction(connected) as session:
            return await work(UserService(session, passwords, CLI_PRINCIPAL), session)

    with runtime.prepare(runtime.with_database, quiet=True) as connected:
        return runtime.run(work_in_transaction())


async def _by_email(users: UserService, email: str) -> UserRead:
    try:
        query = UserQuery(email=email)
    except ValidationError:
        raise NotFound("There is no user with such an email") from None
    page = await users.page(query)
    if not page.items:
        raise NotFound(f"There is no user {email}")
    return page.items[0]
