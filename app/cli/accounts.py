"""The commands `users` and `tokens`: create admins, set passwords and roles, revoke tokens."""

import sys
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

import typer
from pydantic import ValidationError

from app.cli import runtime
from app.core.access import CLI_PRINCIPAL, Role
from app.core.db import TransactionSession
from app.core.errors import NotFound
from app.core.field_errors import validation_error_message
from app.core.schemas import RequestModel
from app.tokens.service import TokenRevoker
from app.users.password_policy import PasswordPolicy
from app.users.passwords import PasswordHasher
from app.users.schemas import UserCreate, UserQuery, UserRead, UserUpdate
from app.users.service import UserService

users = typer.Typer(help="Manage users and their roles.", no_args_is_help=True)
tokens = typer.Typer(help="Revoke access tokens.", no_args_is_help=True)
STANDARD_INPUT: Final = "-"
RequestT = TypeVar("RequestT", bound=RequestModel)
Email = Annotated[str, typer.Argument(help="The user's email address.")]


@users.command(name="create-admin")
def create_admin(
    email: Email, name: Annotated[str, typer.Option(help="The user's name.")] = "Admin"
) -> None:
    """Create a user with the role admin, who may do everything.

    The command prompts for the password. If standard input is not a terminal, the password is its
    first line.
    """
    new_user_fields = {
        "email": email,
        "name": name,
        "password": _read_password(),
        "role": Role.ADMIN,
    }
    new_user = _validate(UserCreate, new_user_fields)
    user = runtime.run_in_transaction(lambda session: _user_service(session).create(new_user))
    typer.echo(f"Created the admin {user.email} with the id {user.id}.")


@users.command(name="set-role")
def set_role(email: Email, role: Role) -> None:
    """Change the role of a user.

    The new role applies to requests that arrive from now on, also with existing tokens.
    """
    changes = UserUpdate.model_validate({"role": role})
    user = runtime.run_in_transaction(lambda session: _change_user(session, email, changes))
    typer.echo(f"{user.email} now has the role {user.role}.")


@users.command(name="set-password")
def set_password(email: Email) -> None:
    """Set the password of a user, for example of one who has forgotten it.

    All tokens of the user are revoked. The command prompts for the new password. If standard input
    is not a terminal, the password is its first line.
    """
    changes = _validate(UserUpdate, {"password": _read_password()})
    user = runtime.run_in_transaction(lambda session: _change_user(session, email, changes))
    typer.echo(f"{user.email} has a new password. All of their tokens were revoked.")


@tokens.command()
def revoke(
    user_or_token: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="An email address, to revoke all tokens of this user; the id of a token; or - to"
            " revoke every token that occurs in standard input, for example in a log file.",
        ),
    ],
) -> None:
    """Revoke tokens. All servers refuse them immediately."""
    if user_or_token == STANDARD_INPUT:
        leaked_text = sys.stdin.buffer.read().decode("ascii", "replace")
        revoked_count = runtime.run_in_transaction(
            lambda session: TokenRevoker(session).revoke_leaked(leaked_text)
        )
    else:
        revoked_count = runtime.run_in_transaction(
            lambda session: _revoke_by_email_or_id(session, user_or_token)
        )
    typer.echo(f"Tokens revoked: {revoked_count}")


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
        # Python reads invalid bytes from a terminal as surrogates. Encoding them raises an error.
        password.encode()
    except UnicodeError:
        runtime.fail("the password is not valid UTF-8")
    return password


def _validate(model: type[RequestT], fields: dict[str, Any]) -> RequestT:
    """Create a request model from its fields. End the command if a field is invalid."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        runtime.fail(_describe_invalid_fields(error))


def _describe_invalid_fields(error: ValidationError) -> str:
    """Return a message such as "email: Must be an email address; password: Required"."""
    messages = []
    for field_error in error.errors():
        field_name = field_error["loc"][0]
        messages.append(f"{field_name}: {validation_error_message(field_error)}")
    return "; ".join(messages)


def _user_service(session: TransactionSession) -> UserService:
    """Return a service for users that may do everything, like the operator who runs the command."""
    settings = runtime.load_settings(quiet=True)
    password_policy = PasswordPolicy(settings.password_min_length)
    return UserService(session, PasswordHasher(), password_policy, CLI_PRINCIPAL)


async def _change_user(session: TransactionSession, email: str, changes: UserUpdate) -> UserRead:
    """Change the user with an email address, and return the changed user."""
    user_service = _user_service(session)
    user = await _get_user_by_email(user_service, email)
    return await user_service.update(user.id, changes)


async def _revoke_by_email_or_id(session: TransactionSession, email_or_id: str) -> int:
    """Revoke all tokens of the user with an email address, or the token with an id.

    Returns the number of revoked tokens.
    """
    token_revoker = TokenRevoker(session)
    if "@" in email_or_id:
        user = await _get_user_by_email(_user_service(session), email_or_id)
        return await token_revoker.revoke_by_user(user.id)
    return await token_revoker.revoke_by_id(_parse_token_id(email_or_id))


async def _get_user_by_email(user_service: UserService, email: str) -> UserRead:
    """Return the user with an email address, which is compared as in a login.

    Raises `NotFound` if the address is invalid or no user has it.
    """
    try:
        query = UserQuery(email=email)
    except ValidationError:
        raise NotFound("The email address is not valid") from None
    page = await user_service.page(query)
    if not page.items:
        raise NotFound(f"No user has the email address {email}")
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
