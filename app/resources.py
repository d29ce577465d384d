"""The long-lived objects of one application, typed, in one place."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.core.server import ServerResources
from app.core.storage import Storage
from app.users.passwords import PasswordHasher


@dataclass(frozen=True, kw_only=True)
class Resources(ServerResources):
    """Objects shared by all requests. `create_app` builds them; connections open on first use.

    `ServerResources` adds the settings, the database, readiness and the lookup of tokens.
    """

    storage: Storage
    password_hasher: PasswordHasher

    async def close(self) -> None:
        """Close connections and end threads. The resources cannot be used afterwards."""
        try:
            # The database first: it waits for callbacks, which may use the storage.
            await self.database.close()
        finally:
            self.password_hasher.close()
            self.storage.close()


async def _resources(request: Request) -> Resources:
    resources: Resources = request.app.state.resources
    return resources


# The resources of the application, for dependencies that need more than a session.
AppResources = Annotated[Resources, Depends(_resources)]
