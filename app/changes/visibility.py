"""Which changes a principal may see: those of the rows that they may read."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from uuid import UUID

from app.core.access import ALL, OWN, Permission, Principal
from app.core.change_watcher import ChangedRow

# The permission to read the rows of each entity, by the name of its table.
READ_PERMISSIONS: Final[dict[str, Permission]] = {
    "authors": "catalog:read",
    "books": "catalog:read",
    "documents": "documents",
    "users": "users",
}


@dataclass(frozen=True)
class Visibility:
    """The changes that a principal may see.

    Args:
        entities: The entities of which the principal sees all changes, for example `("books",)`.
        own_entities: The entities of which they see the changes of the rows that they own.
        user_id: The id of the user who owns these rows. None for an anonymous caller.
    """

    entities: tuple[str, ...]
    own_entities: tuple[str, ...]
    user_id: int | None

    @classmethod
    def of(cls, principal: Principal) -> "Visibility":
        """Return what a principal may see, which follows from the table of permissions."""
        scopes = {
            entity: principal.scope(permission) for entity, permission in READ_PERMISSIONS.items()
        }
        return cls(
            entities=tuple(entity for entity, scope in scopes.items() if scope is ALL),
            own_entities=tuple(entity for entity, scope in scopes.items() if scope is OWN),
            user_id=principal.user_id,
        )

    def covers(self, row: ChangedRow) -> bool:
        """Return whether the principal sees the changes of a row."""
        entity, owner_id = row
        if entity in self.entities:
            return True
        return entity in self.own_entities and owner_id is not None and owner_id == self.user_id

    def derive_cursor_key(self, epoch: UUID) -> bytes:
        """Return the key of the cursors of principals who see the same changes in an epoch."""
        owner_id = self.user_id if self.own_entities else None
        parts = (self.entities, self.own_entities, owner_id)
        return blake2b(repr(parts).encode(), key=epoch.bytes).digest()
