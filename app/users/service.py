"""Manage users and their passwords."""

from typing import Any

from pydantic import SecretStr

from app.core.access import ALL, NONE, Principal
from app.core.db import Session
from app.core.errors import Conflict, Forbidden, InvalidRequest, NotFound
from app.core.field_errors import FieldError
from app.core.paging import ListQuery, Page
from app.core.preconditions import ANY_VERSION, Precondition
from app.users.credentials import CredentialVerifier
from app.users.passwords import PasswordHasher
from app.users.repository import UserRepository
from app.users.schemas import UserCreate, UserRead, UserUpdate


class UserService:
    """Registers users, and reads, changes and deletes the users that the principal may access.

    A new user's password is hashed before the first statement, so that a request does not hold a
    database connection while it waits for the hash.

    A precondition says which versions of a user the client allows a method to change or delete.
    """

    def __init__(
        self, session: Session, password_hasher: PasswordHasher, principal: Principal
    ) -> None:
        """Create a service that acts with the permissions of the principal."""
        self._session = session
        self._password_hasher = password_hasher
        self._principal = principal
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

        Raises `EmailTaken` if another user has the email, and `Forbidden` if a role was sent and
        the principal may not choose roles.
        """
        self._require_permission_to_set_role(new_user)
        columns = await self._replace_password_with_hash(new_user.model_dump())
        return await self._repository.create(columns)

    async def update(
        self, id: int, changes: UserUpdate, precondition: Precondition = ANY_VERSION
    ) -> UserRead:
        """Change the fields of a user that were sent. If no field was sent, change nothing.

        A new password requires the current password, unless the principal may change all users.

        Raises `NotFound`, `PreconditionFailed`, `EmailTaken`, `LastAdmin`, and

        - `Forbidden` if a role was sent and the principal may not choose roles,
        - `InvalidRequest` if the current password is missing, wrong, or sent without a new one,
        - `TooManyFailedLogins` after too many wrong current passwords,
        - `Conflict` if another request changes the password at the same time.
        """
        self._require_permission_to_set_role(changes)
        new_values = changes.model_dump(exclude_unset=True)
        current_password = new_values.pop("current_password", None)
        if "password" in new_values:
            return await self._change_password(id, new_values, current_password, precondition)
        if current_password is not None:
            raise _create_current_password_error(
                "unused", "The current password is only allowed together with a new password"
            )
        if not new_values:
            return await self._repository.get(id, precondition)
        return await self._repository.update(id, new_values, precondition)

    async def delete(self, id: int, precondition: Precondition = ANY_VERSION) -> None:
        """Delete a user, with their tokens and documents.

        Raises `NotFound`, `PreconditionFailed` or `LastAdmin`.
        """
        await self._repository.delete(id, precondition)

    def _require_permission_to_set_role(self, request: UserCreate | UserUpdate) -> None:
        """Raise `Forbidden` if the request contains a role and the principal may not set roles."""
        contains_role = "role" in request.model_fields_set
        may_set_roles = self._principal.scope("users:role") is not NONE
        if contains_role and not may_set_roles:
            raise Forbidden

    async def _change_password(
        self,
        user_id: int,
        new_values: dict[str, Any],
        current_password: SecretStr | None,
        precondition: Precondition,
    ) -> UserRead:
        """Change the password of a user, and possibly other fields. Return the changed user.

        `new_values` are the fields to change. They contain the new password as `password`.

        A principal who may change all users, for example an admin, may omit the current password.
        If it was sent, it must be right.
        """
        verified_hash = None
        may_omit_current_password = self._principal.scope("users") is ALL
        if current_password is not None or not may_omit_current_password:
            verified_hash = await self._verify_current_password(user_id, current_password)
        columns = await self._replace_password_with_hash(new_values)
        # When the password changes, a database trigger deletes all other tokens of the user.
        columns["password_changed_by"] = self._principal.token_id
        if verified_hash is None:
            return await self._repository.update(user_id, columns, precondition)
        return await self._update_if_hash_unchanged(user_id, columns, verified_hash, precondition)

    async def _verify_current_password(self, user_id: int, password: SecretStr | None) -> str:
        """Verify the current password of a user before it is changed. Return its hash.

        Without this check, someone with a stolen token could take over the account.

        Raises `InvalidRequest` if the password is missing or wrong, and `TooManyFailedLogins` after
        too many wrong passwords.
        """
        # Raise `NotFound` before anything is counted if the principal may not access the user.
        await self._repository.get(user_id)
        if password is None:
            raise _create_current_password_error(
                "missing", "A new password requires the current password"
            )
        verifier = CredentialVerifier(self._session, self._password_hasher)
        credentials = await verifier.verify_current_password(
            user_id, password, self._principal.token_id
        )
        if credentials is None:
            raise _create_current_password_error("wrong_password", "The current password is wrong")
        return credentials.password_hash

    async def _update_if_hash_unchanged(
        self, user_id: int, columns: dict[str, Any], verified_hash: str, precondition: Precondition
    ) -> UserRead:
        """Change a user whose password hash is still the one that was verified.

        Raises `Conflict` if another request has changed the password, or deleted the user.
        """
        # This repository only accesses users with the verified hash.
        filters = {**self._owner_filter, "hash": verified_hash}
        repository = UserRepository(self._session, filters)
        try:
            return await repository.update(user_id, columns, precondition)
        except NotFound:
            raise Conflict("Another request has changed the user at the same time") from None

    async def _replace_password_with_hash(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the columns to write for the fields of a user.

        For example, `{"name": "Ada", "password": SecretStr("correct horse")}` becomes
        `{"name": "Ada", "password_hash": "$argon2id$v=19$..."}`.
        """
        columns = dict(values)
        password = columns.pop("password")
        columns["password_hash"] = await self._password_hasher.hash(password)
        return columns


def _create_current_password_error(code: str, detail: str) -> InvalidRequest:
    """Create the error for a wrong or missing value of the field `current_password`.

    `code` identifies the error for programs, for example `missing`. `detail` is for people.
    """
    return InvalidRequest(FieldError(pointer="/current_password", code=code, detail=detail))
