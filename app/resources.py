"""The long-lived objects of an application, such as the database and the object store."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.core.change_watcher import ChangeWatcher
from app.core.server import ServerResources
from app.core.storage import Storage
from app.users.passwords import PasswordHasher


@dataclass(frozen=True, kw_only=True)
class Resources(ServerResources):
    """Long-lived objects that all requests of an application share, such as the object store.

    `create_app` creates one instance per application. Its base class adds the settings, the
    database, the readiness check, and the function that looks up the user of a token.
    """

    storage: Storage
    password_hasher: PasswordHasher
    change_watcher: ChangeWatcher

    async def close(self) -> None:
        """Close all connections and stop all threads when the application shuts down."""
        self.change_watcher.close()
        try:
            # Closing the database waits for callbacks after COMMIT, which may use the storage.
            await self.database.close()
        finally:
            self.password_hasher.close()
            self.storage.close()


async def _get_resources(request: Request) -> Resources:
    """Return the resources of the application that handles the request."""
    resources: Resources = request.app.state.resources
    return resources


# The type of a parameter of an endpoint or dependency that needs more than a session, for example
# the object store.
AppResources = Annotated[Resources, Depends(_get_resources)]
