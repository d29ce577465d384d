"""The rules of users."""

from typing import Any

from pydantic import SecretStr

from app.core.access import ALL, NONE, Principal
from app.core.db import Session
from app.core.errors import Conflict, Fault, Forbidden, InvalidRequest, NotFound
from app.core.schemas import RequestModel
from app.core.service import Service
from app.users.credentials import CredentialVerifier
from app.users.passwords import Passwords
from app.users.repository import UserRepository
from app.users.schemas import UserCreate, UserRead


class UserService(Service[UserRead]):
    """Users. A password is hashed before the first statement: no connection waits for it."""

    repository_class = UserRepository

    def __init__(self, session: Session, passwords: Passwords, principal: Principal) -> None:
        super().__init__(session, principal.only("users"))
        self._passwords, self._principal = passwords, principal

    async def me(self) -> UserRead:
        """The user who asks."""
        return await self.get(self._principal.user_id)

    async def create(self, data: UserCreate) -> UserRead:
        """Register. Whether the email is free, the database decides."""
        values = data.model_dump()
        self._check_role(data)
        return await self.repository.create(await self._hashed(values))

    async def update(
        self, id: Any, data: RequestModel, expected_versions: list[int] | None = None
    ) -> UserRead:
        changes = data.model_dump(exclude_unset=True)
        current = changes.pop("current_password", None)
        self._check_role(data)
        if "password" not in changes:
            if current is not None:
                raise _wrong("unused", "Goes with a new password only")
            return await super().update(id, data, expected_versions)
        known = {}
        if current is not None or self._principal.scope("users") is not ALL:
            known["hash"] = await self._confirm(id, current)
        values = await self._hashed(changes)
        values["password_changed_by"] = self._principal.token_id
        try:
            scope = {**self.repository.scope, **known}
            repository = UserRepository(self.repository.session, scope)
            return await repository.update(id, values, expected_versions)
        except NotFound:
            if known:  # and no longer: it has been changed meanwhile
                raise Conflict from None
            raise

    def _check_role(self, data: RequestModel) -> None:
        if "role" in data.model_fields_set and self._principal.scope("users:role") is NONE:
            raise Forbidden

    async def _confirm(self, key: Any, password: SecretStr | None) -> str:
        """The hash of the current password, for whoever knows that.

        Whoever has found a token shall not take over the account with it.
        """
        user = await self.get(key)
        if password is None:
            raise _wrong("missing", "Must come with a new password")
        verifier = CredentialVerifier(self.repository.session, self._passwords)
        credentials = await verifier.verify(user.email, password)
        if credentials is None:
            raise _wrong("wrong_password", "Is not the current password")
        return credentials.password_hash

    async def _hashed(self, values: dict[str, Any]) -> dict[str, Any]:
        password = values.pop("password")
        return {**values, "password_hash": await self._passwords.hash(password)}


def _wrong(code: str, detail: str) -> InvalidRequest:
    return InvalidRequest(Fault(pointer="/current_password", code=code, detail=detail))
