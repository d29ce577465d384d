"""Manage users and their passwords."""

from typing import Any

from pydantic import SecretStr

from app.core.access import ALL, NONE, Principal
from app.core.db import Session
from app.core.errors import Conflict, Fault, Forbidden, InvalidRequest, NotFound
from app.core.paging import ListQuery, Page
from app.users.credentials import CredentialVerifier
from app.users.passwords import PasswordHasher
from app.users.repository import UserRepository
from app.users.schemas import UserCreate, UserRead, UserUpdate


class UserService:
    """Operations on the users that the principal may access.

    A password is hashed before the first statement, so that no connection is held meanwhile.

    `expected_versions` are the versions that an `If-Match` header allows; `None` allows every
    version.
    """

    def __init__(self, session: Session, passwords: PasswordHasher, principal: Principal) -> None:
        self._session = session
        self._passwords = passwords
        self._principal = principal
        self._scope = principal.owner_filter("users")
        self._users = UserRepository(session, self._scope)

    async def get(self, id: int) -> UserRead:
        """Read one user. Raises `NotFound`."""
        return await self._users.get(id)

    async def get_current(self) -> UserRead:
        """Read the user of the principal. Raises `NotFound` if the principal has none."""
        return await self._users.get(self._principal.user_id)

    async def page(self, query: ListQuery) -> Page[UserRead]:
        """Read one page of the users that match the query."""
        return await self._users.page(query)

    async def create(self, data: UserCreate) -> UserRead:
        """Register a user.

        Raises `EmailTaken`, and `Forbidden` if the principal may not choose the role.
        """
        self._check_role(data)
        columns = await self._to_columns(data.model_dump())
        return await self._users.create(columns)

    async def update(
        self, id: int, data: UserUpdate, expected_versions: list[str] | None = None
    ) -> UserRead:
        """Change the fields that were sent. If none was sent, not even the version changes.

        A new password needs the current one, unless the principal may change all users.

        Raises `NotFound`, `PreconditionFailed`, `EmailTaken`, `LastAdmin`, `Forbidden` if the
        principal may not choose the role, and `InvalidRequest`, `TooManyFailedLogins` or `Conflict`
        because of the current password.
        """
        self._check_role(data)
        changes = data.model_dump(exclude_unset=True)
        current_password = changes.pop("current_password", None)
        if "password" in changes:
            return await self._change_password(id, changes, current_password, expected_versions)
        if current_password is not None:
            raise _current_password_error("unused", "Goes with a new password only")
        if not changes:
            return await self._users.get(id, expected_versions)
        return await self._users.update(id, changes, expected_versions)

    async def delete(self, id: int, expected_versions: list[str] | None = None) -> None:
        """Delete a user, with all tokens and documents.

        Raises `NotFound`, `PreconditionFailed` or `LastAdmin`.
        """
        await self._users.delete(id, expected_versions)

    def _check_role(self, data: UserCreate | UserUpdate) -> None:
        """Raise `Forbidden` if a role was sent and the principal may not choose it."""
        may_choose_role = self._principal.scope("users:role") is not NONE
        if "role" in data.model_fields_set and not may_choose_role:
            raise Forbidden

    async def _change_password(
        self,
        id: int,
        changes: dict[str, Any],
        current_password: SecretStr | None,
        expected_versions: list[str] | None,
    ) -> UserRead:
        """Change the password, and the other fields that were sent with it."""
        verified_hash = None
        may_change_all = self._principal.scope("users") is ALL
        if current_password is not None or not may_change_all:
            verified_hash = await self._verify_current_password(id, current_password)
        columns = await self._to_columns(changes)
        # A trigger revokes all other tokens of the user.
        columns["password_changed_by"] = self._principal.token_id
        if verified_hash is None:
            return await self._users.update(id, columns, expected_versions)
        users = UserRepository(self._session, {**self._scope, "hash": verified_hash})
        try:
            return await users.update(id, columns, expected_versions)
        except NotFound:
            # Another request has changed the password since it was verified.
            raise Conflict from None

    async def _verify_current_password(self, id: int, password: SecretStr | None) -> str:
        """Verify the current password of a user. Return its hash.

        Without this, a token that was stolen would be enough to take over the account.
        """
        user = await self._users.get(id)
        if password is None:
            raise _current_password_error("missing", "Must come with a new password")
        verifier = CredentialVerifier(self._session, self._passwords)
        credentials = await verifier.verify(user.email, password)
        if credentials is None:
            raise _current_password_error("wrong_password", "Is not the current password")
        return credentials.password_hash

    async def _to_columns(self, values: dict[str, Any]) -> dict[str, Any]:
        """Replace the password by its hash."""
        columns = dict(values)
        password = columns.pop("password")
        columns["password_hash"] = await self._passwords.hash(password)
        return columns


def _current_password_error(code: str, detail: str) -> InvalidRequest:
    return InvalidRequest(Fault(pointer="/current_password", code=code, detail=detail))
