"""The long-lived objects of an application, such as the database and the object store."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.core.server import ServerResources
from app.core.storage import Storage
from app.users.passwords import PasswordHasher


@dataclass(frozen=True, kw_only=True)
class Resources(ServerResources):
    """Long-lived objects that all requests of an application share.

    `create_app` creates them, and their connections are opened by the first use. The base class
    contains the settings, the database, the readiness check and the lookup of tokens.
    """

    storage: Storage
    password_hasher: PasswordHasher

    async def close(self) -> None:
        """Close all connections and stop all threads. The resources cannot be used afterwards."""
        try:
            # The database is closed first, because it waits for callbacks that may use the storage.
            await self.database.close()
        finally:
            self.password_hasher.close()
            self.storage.close()


async def _get_resources(request: Request) -> Resources:
    resources: Resources = request.app.state.resources
    return resources


# The type of a parameter of an endpoint or dependency that needs more than a session, for example
# the object store.
AppResources = Annotated[Resources, Depends(_get_resources)]
