"""Sorts the operations of the OpenAPI document in the order in which people read them."""

from typing import Any, Final

from app.core.http._openapi_json import Json

_METHODS: Final = ("get", "post", "put", "patch", "delete")


def sort_operations(document: Json) -> None:
    """Sort the paths and the methods of each path: list, create, read, update and delete.

    The order of the routes is another one, because busy routes come first there. The responses of
    each operation are sorted by status.
    """
    tag_names = [tag["name"] for tag in document.get("tags", [])]

    def get_sort_key(path_and_item: tuple[str, Json]) -> tuple[Any, ...]:
        """Return a key that sorts by tag, then `/books`, `/books/batch`, `/books/{id}`."""
        path, path_item = path_and_item
        first_operation: Json = next(iter(path_item.values()), {})
        # Operations of libraries may have no tag, or one without a description. They come last.
        tags = [tag for tag in first_operation.get("tags", []) if tag in tag_names]
        tag_position = tag_names.index(tags[0]) if tags else len(tag_names)
        return tag_position, path.count("/"), path.count("{")

    document["paths"] = {
        path: dict(sorted(path_item.items(), key=_get_method_position))
        for path, path_item in sorted(document["paths"].items(), key=get_sort_key)
    }
    for path_item in document["paths"].values():
        for operation in path_item.values():
            operation["responses"] = dict(sorted(operation["responses"].items()))


def _get_method_position(method_and_operation: tuple[str, Json]) -> int:
    """Return the position of a method: 0 for `get`, and the last one for unusual methods."""
    method, _ = method_and_operation
    return _METHODS.index(method) if method in _METHODS else len(_METHODS)
