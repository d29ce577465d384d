"""The long-lived objects of one application, typed, in one place."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.core.server import ServerResources
from app.core.storage import Storage
from app.users.passwords import Passwords


@dataclass(frozen=True, kw_only=True)
class Resources(ServerResources):
    """What requests share. `create_app` creates it; it opens nothing before its first use."""

    storage: Storage
    passwords: Passwords

    async def close(self) -> None:
        """Close connections and end threads. The resources cannot be used afterwards."""
        # The database first, because its callbacks after a commit may use the storage.
        try:
            await self.database.close()
        finally:
            self.passwords.close()
            self.storage.close()


async def _resources(request: Request) -> Resources:
    resources: Resources = request.app.state.resources
    return resources


# The resources of the application, for dependencies that need more than a session.
AppResources = Annotated[Resources, Depends(_resources)]
