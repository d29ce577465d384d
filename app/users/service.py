"""Manage users and their passwords."""

from typing import Any

from pydantic import SecretStr

from app.core.access import ALL, NONE, Principal
from app.core.db import Session
from app.core.errors import Conflict, Forbidden, InvalidRequest, NotFound
from app.core.field_errors import FieldError
from app.core.paging import ListQuery, Page
from app.users.credentials import CredentialVerifier
from app.users.passwords import PasswordHasher
from app.users.repository import UserRepository
from app.users.schemas import UserCreate, UserRead, UserUpdate


class UserService:
    """Operations on the users that the principal may access.

    A password is hashed before the first statement, so that no database connection is held while
    it is hashed.

    `expected_versions` are the versions that an `If-Match` header allows. None allows every
    version.
    """

    def __init__(
        self, session: Session, password_hasher: PasswordHasher, principal: Principal
    ) -> None:
        self._session = session
        self._password_hasher = password_hasher
        self._principal = principal
        self._scope = principal.owner_filter("users")
        self._repository = UserRepository(session, self._scope)

    async def get(self, id: int) -> UserRead:
        """Read one user. Raises `NotFound`."""
        return await self._repository.get(id)

    async def get_current(self) -> UserRead:
        """Read the user of the principal. Raises `NotFound` if the principal has none."""
        return await self._repository.get(self._principal.user_id)

    async def page(self, query: ListQuery) -> Page[UserRead]:
        """Read one page of the users that match the query."""
        return await self._repository.page(query)

    async def create(self, new_user: UserCreate) -> UserRead:
        """Register a user.

        Raises `EmailTaken`, and `Forbidden` if a role was sent and the principal may not choose it.
        """
        self._require_permission_for_role(new_user)
        columns = await self._hash_password(new_user.model_dump())
        return await self._repository.create(columns)

    async def update(
        self, id: int, update: UserUpdate, expected_versions: list[str] | None = None
    ) -> UserRead:
        """Change the fields that were sent. If no field was sent, the version does not change.

        A new password requires the current password, unless the principal may change all users.

        Raises `NotFound`, `PreconditionFailed`, `EmailTaken`, `LastAdmin`, and

        - `Forbidden` if a role was sent and the principal may not choose it,
        - `InvalidRequest` if the current password is missing, wrong or not needed,
        - `TooManyFailedLogins` after too many wrong current passwords,
        - `Conflict` if another request changes the password at the same time.
        """
        self._require_permission_for_role(update)
        changes = update.model_dump(exclude_unset=True)
        current_password = changes.pop("current_password", None)
        if "password" in changes:
            return await self._change_password(id, changes, current_password, expected_versions)
        if current_password is not None:
            raise _current_password_error(
                "unused", "The current password is only allowed together with a new password"
            )
        if not changes:
            return await self._repository.get(id, expected_versions)
        return await self._repository.update(id, changes, expected_versions)

    async def delete(self, id: int, expected_versions: list[str] | None = None) -> None:
        """Delete a user, with their tokens and documents.

        Raises `NotFound`, `PreconditionFailed` or `LastAdmin`.
        """
        await self._repository.delete(id, expected_versions)

    def _require_permission_for_role(self, request: UserCreate | UserUpdate) -> None:
        """Raise `Forbidden` if the request contains a role that the principal may not choose."""
        contains_role = "role" in request.model_fields_set
        may_choose_role = self._principal.scope("users:role") is not NONE
        if contains_role and not may_choose_role:
            raise Forbidden

    async def _change_password(
        self,
        id: int,
        changes: dict[str, Any],
        current_password: SecretStr | None,
        expected_versions: list[str] | None,
    ) -> UserRead:
        """Change the password of a user, and the other fields in `changes`.

        `changes` contains the new password as `password`.
        """
        verified_hash = None
        may_change_all = self._principal.scope("users") is ALL
        if current_password is not None or not may_change_all:
            verified_hash = await self._verify_current_password(id, current_password)
        columns = await self._hash_password(changes)
        # A trigger revokes all other tokens of the user.
        columns["password_changed_by"] = self._principal.token_id
        if verified_hash is None:
            return await self._repository.update(id, columns, expected_versions)
        # Update the row only if it still has the hash that was verified.
        scope = {**self._scope, "hash": verified_hash}
        repository = UserRepository(self._session, scope)
        try:
            return await repository.update(id, columns, expected_versions)
        except NotFound:
            raise Conflict("Another request has changed the user at the same time") from None

    async def _verify_current_password(self, id: int, password: SecretStr | None) -> str:
        """Verify the current password of a user, and return its hash.

        Otherwise, a stolen token would be enough to take over the account.

        Raises `InvalidRequest` if the password is missing or wrong, and `TooManyFailedLogins` after
        too many wrong passwords.
        """
        user = await self._repository.get(id)
        if password is None:
            raise _current_password_error("missing", "A new password requires the current password")
        verifier = CredentialVerifier(self._session, self._password_hasher)
        credentials = await verifier.verify(user.email, password)
        if credentials is None:
            raise _current_password_error("wrong_password", "The current password is wrong")
        return credentials.password_hash

    async def _hash_password(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the columns to write for these fields: `password` becomes `password_hash`."""
        columns = dict(fields)
        password = columns.pop("password")
        columns["password_hash"] = await self._password_hasher.hash(password)
        return columns


def _current_password_error(code: str, detail: str) -> InvalidRequest:
    """Return an error with one field error, which points to `current_password`."""
    return InvalidRequest(FieldError(pointer="/current_password", code=code, detail=detail))
