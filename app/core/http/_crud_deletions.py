"""The endpoint that deletes several items of an entity, for `CrudEndpoints` that declare it."""

from collections.abc import Sequence
from typing import Any

from app.core.access import Permission
from app.core.crud import CrudService
from app.core.deletions import MAX_DELETED_ITEMS, DeletedCount, Deletion
from app.core.errors import Conflict, ServiceError
from app.core.http._crud_operations import build_service_dependency, set_endpoint_metadata
from app.core.http._router import Router


def add_deletions_endpoint(
    router: Router,
    plural: str,
    service_class: type[CrudService[Any, Any, Any]],
    permission: Permission,
    errors: Sequence[type[ServiceError]],
) -> None:
    """Add the endpoint that deletes several items by their ids: `POST /authors/deletions`.

    Args:
        router: The router of the entity, for example with the prefix /authors.
        plural: The name of several items, for example "authors".
        service_class: The service of the entity.
        permission: The permission that a single DELETE also requires.
        errors: The errors to document in addition to `Conflict`.
    """

    async def delete_items(deletion: Deletion, service: CrudService[Any, Any, Any]) -> DeletedCount:
        """Delete all items, or none of them if one cannot be deleted."""
        return await service.delete_many(deletion)

    docstring = (
        f"Delete up to {MAX_DELETED_ITEMS} {plural}, all or none.\n\nIf one of the {plural} cannot"
        " be deleted, for example because it does not exist, none of them is."
    )
    service_type = build_service_dependency(service_class)
    set_endpoint_metadata(delete_items, f"delete_{plural}", docstring, {"service": service_type})
    router.post("/deletions", permission=permission, errors=[Conflict, *errors])(delete_items)
