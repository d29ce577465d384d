"""Manage users and their passwords."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import SecretStr

from app.core.access import NONE, Principal
from app.core.db import Session
from app.core.errors import Conflict, Forbidden, InvalidRequest, NotFound
from app.core.field_errors import FieldError
from app.core.paging import ListQuery, Page
from app.core.preconditions import ANY_VERSION, Precondition
from app.users.credentials import CredentialVerifier
from app.users.password_policy import PasswordPolicy
from app.users.passwords import PasswordHasher
from app.users.registrations import RegistrationGuard
from app.users.repository import UserRepository
from app.users.schemas import UserCreate, UserRead, UserUpdate


class UserService:
    """Registers users, and reads, changes and deletes the users that the principal may access.

    Passwords are hashed before a transaction begins, so that a request does not hold a database
    connection while it waits for the hash.

    A precondition says which versions of a user the client allows a method to change or delete.
    """

    def __init__(
        self,
        session: Session,
        password_hasher: PasswordHasher,
        password_policy: PasswordPolicy,
        principal: Principal,
        registration_guard: RegistrationGuard | None = None,
    ) -> None:
        """Create a service that acts with the permissions of the principal.

        Without a guard, registrations and changes of an email are not limited.
        """
        self._session = session
        self._password_hasher = password_hasher
        self._password_policy = password_policy
        self._principal = principal
        self._registration_guard = registration_guard
        self._owner_filter = principal.owner_filter("users")
        self._repository = UserRepository(session, self._owner_filter)

    async def get(self, id: int) -> UserRead:
        """Read one user. Raises `NotFound`."""
        return await self._repository.get(id)

    async def get_current(self) -> UserRead:
        """Read the user who sent the request. Raises `NotFound` if the caller is anonymous."""
        return await self._repository.get(self._principal.user_id)

    async def page(self, query: ListQuery) -> Page[UserRead]:
        """Read one page of the users that match the query."""
        return await self._repository.page(query)

    async def create(self, new_user: UserCreate) -> UserRead:
        """Register a user.

        Raises `EmailTaken` if another user has the email, `Forbidden` if a role was sent and the
        principal may not choose roles, `InvalidRequest` if the policy refuses the password, and
        `TooManyRegistrations` if the guard refuses the registration.
        """
        self._require_permission_to_set_role(new_user)
        self._password_policy.check(new_user.password, email=new_user.email, name=new_user.name)
        columns = new_user.model_dump(exclude={"password"})
        # Reserve the hasher before the registration is counted, because a registration that is
        # refused with `Overloaded` must not be counted.
        with self._password_hasher.reserve_for_change() as reserved_hasher:
            if self._registration_guard is not None:
                await self._registration_guard.count_registration()
                await self._registration_guard.check_email(new_user.email)
            columns["password_hash"] = await reserved_hasher.hash(new_user.password)
        return await self._repository.create(columns)

    async def update(
        self, id: int, changes: UserUpdate, precondition: Precondition = ANY_VERSION
    ) -> UserRead:
        """Change the fields of a user that were sent. If no field was sent, change nothing.

        A new email or password of the principal's own account requires the current password. The
        email that the user already has is not a change, and is not written.

        Raises `NotFound`, `PreconditionFailed`, `EmailTaken`, `LastAdmin`, and

        - `Forbidden` if a role was sent and the principal may not choose roles,
        - `InvalidRequest` if the policy refuses the new password, or if the current password is
          missing, wrong, or sent without an email or a new password,
        - `TooManyFailedLogins` after too many wrong current passwords,
        - `TooManyRegistrations` if the guard refuses the new email,
        - `Conflict` if another request changes the password at the same time.
        """
        self._require_permission_to_set_role(changes)
        new_values = changes.model_dump(exclude_unset=True)
        current_password = new_values.pop("current_password", None)
        if "email" in new_values or "password" in new_values:
            return await self._change_credentials(id, new_values, current_password, precondition)
        if current_password is not None:
            raise _create_current_password_error(
                "unused", "The current password is only allowed with an email or a new password"
            )
        if not new_values:
            return await self._repository.get(id, precondition)
        return await self._repository.update(id, new_values, precondition)

    async def delete(
        self,
        id: int,
        current_password: SecretStr | None = None,
        precondition: Precondition = ANY_VERSION,
    ) -> None:
        """Delete a user, with their tokens and documents.

        The deletion of the principal's own account requires the current password.

        Raises `NotFound`, `PreconditionFailed`, `LastAdmin`, and

        - `InvalidRequest` if the current password is missing or wrong,
        - `TooManyFailedLogins` after too many wrong current passwords,
        - `Conflict` if another request changes the password at the same time.
        """
        if current_password is None and not self._is_own_account(id):
            await self._repository.delete(id, precondition)
            return
        # Raise `NotFound` before a wrong password is counted.
        await self._repository.get(id)
        verified_hash = await self._verify_current_password(id, current_password)
        with _conflict_if_hash_changed():
            await self._repository_for_hash(verified_hash).delete(id, precondition)

    def _require_permission_to_set_role(self, request: UserCreate | UserUpdate) -> None:
        """Raise `Forbidden` if the request contains a role and the principal may not set roles."""
        contains_role = "role" in request.model_fields_set
        may_set_roles = self._principal.scope("users:role") is not NONE
        if contains_role and not may_set_roles:
            raise Forbidden

    def _is_own_account(self, user_id: int) -> bool:
        """Return whether a user is the principal. Anonymous callers have no account."""
        return self._principal.user_id == user_id

    async def _change_credentials(
        self,
        user_id: int,
        new_values: dict[str, Any],
        current_password: SecretStr | None,
        precondition: Precondition,
    ) -> UserRead:
        """Change the email or password of a user, and possibly other fields. Return the user.

        `new_values` are the fields to change. They contain the new password as `password`. If the
        current password was sent, it must be right, even if it is not required.
        """
        user = await self._repository.get(user_id)
        if new_values.get("email") == user.email:
            # Do not write the email, because another request may have changed it in the meantime.
            # Someone with a stolen token could otherwise undo that change.
            del new_values["email"]
        if "password" in new_values:
            new_email = new_values.get("email", user.email)
            new_name = new_values.get("name", user.name)
            self._password_policy.check(new_values["password"], email=new_email, name=new_name)
        verified_hash = None
        changes_credentials = "email" in new_values or "password" in new_values
        is_required = changes_credentials and self._is_own_account(user_id)
        if is_required or current_password is not None:
            verified_hash = await self._verify_current_password(user_id, current_password)
        if not new_values:
            precondition.require(user.version)
            # The email may come from an earlier request, which the response then confirms.
            await self._repository.wait_for_replication(user_id)
            return user
        return await self._write_credentials(user_id, new_values, verified_hash, precondition)

    async def _write_credentials(
        self,
        user_id: int,
        new_values: dict[str, Any],
        verified_hash: str | None,
        precondition: Precondition,
    ) -> UserRead:
        """Write the new email or password of a user, and possibly other fields. Return the user.

        If the current password was verified, `verified_hash` is its hash. Raises `Conflict` if the
        user no longer has it, and `TooManyRegistrations` if the guard refuses the new email.
        """
        columns = dict(new_values)
        if "password" in new_values:
            columns["password_hash"] = await self._password_hasher.hash(columns.pop("password"))
            # When the password changes, a database trigger deletes all other tokens of the user.
            columns["password_changed_by"] = self._principal.token_id
        # Hash first, because a change that is refused with `Overloaded` must not be counted.
        if "email" in new_values and self._registration_guard is not None:
            await self._registration_guard.count_registration()
        if verified_hash is None:
            return await self._repository.update(user_id, columns, precondition)
        repository = self._repository_for_hash(verified_hash)
        with _conflict_if_hash_changed():
            return await repository.update(user_id, columns, precondition)

    async def _verify_current_password(self, user_id: int, password: SecretStr | None) -> str:
        """Verify the current password of a user before a change of the account. Return its hash.

        Without this check, someone with a stolen token could take over or delete the account. The
        caller has to make sure that the principal may access the user.

        Raises `InvalidRequest` if the password is missing or wrong, and `TooManyFailedLogins` after
        too many wrong passwords.
        """
        if password is None:
            raise _create_current_password_error(
                "missing", "This change of your own account requires the current password"
            )
        verifier = CredentialVerifier(self._session, self._password_hasher)
        credentials = await verifier.verify_current_password(
            user_id, password, self._principal.token_id
        )
        if credentials is None:
            raise _create_current_password_error("wrong_password", "The current password is wrong")
        return credentials.password_hash

    def _repository_for_hash(self, verified_hash: str) -> UserRepository:
        """Return a repository that only changes users who still have the verified hash."""
        return UserRepository(self._session, {**self._owner_filter, "hash": verified_hash})


@contextmanager
def _conflict_if_hash_changed() -> Iterator[None]:
    """Replace `NotFound` by `Conflict` in a block that writes to `_repository_for_hash`.

    The user existed when the password was verified. Another request has changed the password in the
    meantime, or deleted the user.
    """
    try:
        yield
    except NotFound:
        raise Conflict("Another request has changed the user at the same time") from None


def _create_current_password_error(code: str, detail: str) -> InvalidRequest:
    """Create the error for the field `current_password`, with a code such as `missing`."""
    return InvalidRequest(FieldError(pointer="/current_password", code=code, detail=detail))
