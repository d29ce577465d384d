"""The rules of users."""

from typing import Any

from app.core.schemas import RequestModel
from app.core.service import Service
from app.core.sessions import Session
from app.users.passwords import Passwords
from app.users.repository import UserRepository
from app.users.schemas import UserCreate, UserRead


class UserService(Service[UserRead]):
    """Users. A password is hashed before the first statement: no connection waits for it."""

    repository = UserRepository

    def __init__(self, session: Session, passwords: Passwords) -> None:
        super().__init__(session)
        self._passwords = passwords

    async def create(self, data: UserCreate) -> UserRead:
        """Register. Whether the email is free, the database decides."""
        return await self.rows.create(await self._hashed(data.model_dump()))

    async def update(
        self, key: Any, data: RequestModel, versions: list[int] | None = None
    ) -> UserRead:
        changes = data.model_dump(exclude_unset=True)
        if "password" not in changes:
            return await super().update(key, data, versions)
        return await self.rows.update(key, await self._hashed(changes), versions)

    async def _hashed(self, values: dict[str, Any]) -> dict[str, Any]:
        password = values.pop("password")
        return {**values, "password_hash": await self._passwords.hash(password)}
