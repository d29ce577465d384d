"""The commands `users` and `tokens`: create admins, change roles, revoke tokens."""

import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, TypeVar
from uuid import UUID

import typer
from pydantic import ValidationError

from app.cli import runtime
from app.core.access import CLI_PRINCIPAL, Role
from app.core.db import TransactionSession
from app.core.errors import NotFound
from app.core.field_errors import validation_error_message
from app.tokens.service import TokenRevoker
from app.users.passwords import PasswordHasher
from app.users.schemas import UserCreate, UserQuery, UserRead, UserUpdate
from app.users.service import UserService

T = TypeVar("T")
users = typer.Typer(help="Manage users and their roles.", no_args_is_help=True)
tokens = typer.Typer(help="Revoke access tokens.", no_args_is_help=True)
STANDARD_INPUT: Final = "-"
Email = Annotated[str, typer.Argument(help="The user's email address.")]


@users.command(name="create-admin")
def create_admin(
    email: Email, name: Annotated[str, typer.Option(help="The user's name.")] = "Admin"
) -> None:
    """Create a user with the role admin, who may do everything.

    The command prompts for the password. If standard input is not a terminal, the password is its
    first line.
    """
    fields = {"email": email, "name": name, "password": _read_password(), "role": Role.ADMIN}
    try:
        new_user = UserCreate.model_validate(fields)
    except ValidationError as error:
        messages = [
            f"{item['loc'][0]}: {validation_error_message(item)}" for item in error.errors()
        ]
        runtime.fail("; ".join(messages))
    user = _run_as_operator(lambda users, _session: users.create(new_user))
    typer.echo(f"Created the admin {user.email} with the id {user.id}.")


@users.command(name="set-role")
def set_role(email: Email, role: Role) -> None:
    """Change the role of a user.

    The new role applies to requests that arrive from now on, also with existing tokens.
    """

    async def change_role(users: UserService, _session: TransactionSession) -> UserRead:
        user = await _get_user_by_email(users, email)
        return await users.update(user.id, UserUpdate.model_validate({"role": role}))

    changed_user = _run_as_operator(change_role)
    typer.echo(f"{changed_user.email} now has the role {changed_user.role}.")


@tokens.command()
def revoke(
    target: Annotated[
        str,
        typer.Argument(
            help="An email address, to revoke all tokens of this user; the id of a token; or - to"
            " revoke every token that occurs in standard input, for example in a log file."
        ),
    ],
) -> None:
    """Revoke tokens. All servers refuse them immediately."""
    leaked_text = ""
    if target == STANDARD_INPUT:
        leaked_text = sys.stdin.buffer.read().decode("ascii", "replace")

    async def revoke_tokens(users: UserService, session: TransactionSession) -> int:
        revoker = TokenRevoker(session)
        if target == STANDARD_INPUT:
            return await revoker.revoke_leaked(leaked_text)
        if "@" in target:
            user = await _get_user_by_email(users, target)
            return await revoker.revoke_by_user(user.id)
        return await revoker.revoke_by_id(_parse_token_id(target))

    typer.echo(f"Tokens revoked: {_run_as_operator(revoke_tokens)}")


def _read_password() -> str:
    """Prompt for a password, or read the first line of standard input if it is not a terminal.

    The password is not an argument of the command, because arguments stay in the history of the
    shell and are visible to other processes. Ends the command if the password is not UTF-8.
    """
    try:
        if sys.stdin.isatty():
            password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        else:
            password = sys.stdin.buffer.readline().decode().rstrip("\r\n")
        # Python reads invalid bytes of a terminal as surrogates. They cannot be encoded again.
        password.encode()
    except UnicodeError:
        runtime.fail("the password is not valid UTF-8")
    return password


def _run_as_operator(operation: Callable[[UserService, TransactionSession], Awaitable[T]]) -> T:
    """Run an operation in a transaction, with the permissions of the operator of the service.

    Returns the result of the operation. Ends the command with a message if it fails.
    """
    password_hasher = PasswordHasher()

    async def run_in_transaction() -> T:
        async with runtime.open_transaction(settings) as session:
            users = UserService(session, password_hasher, CLI_PRINCIPAL)
            return await operation(users, session)

    with runtime.prepare_backends(runtime.provide_database, quiet=True) as settings:
        return runtime.run_or_fail(run_in_transaction())


async def _get_user_by_email(users: UserService, email: str) -> UserRead:
    """Return the user with an email address, in any case. Raises `NotFound` if there is none."""
    try:
        query = UserQuery(email=email)
    except ValidationError:
        raise NotFound("The email address is not valid") from None
    page = await users.page(query)
    if not page.items:
        raise NotFound(f"There is no user with the email address {email}")
    # Email addresses are unique.
    [user] = page.items
    return user


def _parse_token_id(text: str) -> UUID:
    """Return the id of a token. Raises `NotFound` if the text is not an id.

    The message does not contain the text, which may be a token.
    """
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(
            "The argument is neither the id of a token nor an email address nor -"
        ) from None
