"""The long-lived objects of one application, typed, in one place."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from app.core.db import Database
from app.core.http import HttpResources
from app.core.storage import Storage
from app.settings import Settings
from app.tokens.service import find_principal
from app.users.passwords import Passwords


@dataclass(frozen=True, kw_only=True)
class Resources(HttpResources):
    """What requests share. `create_app` creates it; it opens nothing before its first use."""

    storage: Storage
    passwords: Passwords

    async def close(self) -> None:
        """Close connections and end threads. Not to be used afterwards."""
        self.passwords.close()
        self.storage.close()
        await self.database.close()


def create_resources(settings: Settings) -> Resources:
    """Return the resources of an application with these settings."""
    return Resources(
        settings=settings,
        database=Database(settings),
        find_principal=find_principal,
        storage=Storage(settings),
        passwords=Passwords(),
    )


async def _resources(request: Request) -> Resources:
    resources: Resources = request.app.state.resources
    return resources


# The resources of the application, for dependencies that need more than a session.
AppResources = Annotated[Resources, Depends(_resources)]
