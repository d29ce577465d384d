"""Sort orders in which the tests of cursors read each list, and the SQL for the expected order."""

from tests.support.rows import AUTHOR_BOOKS_PATH, AUTHOR_ID, SORT_KEYS, TABLE_NAMES

# Text is sorted by the sort key that `tests/core/test_folded_text.py` tests.
TEXT_COLUMNS = {"name", "title", "email"}
# Sort orders that have several keys in different directions.
_MIXED_SORT_ORDERS = {
    "/authors": ("name,-dob", "-dob,name", "dob,-created_at,name", "-name,-dob,-created_at"),
    "/books": ("title,-updated_at", "-created_at,title", "updated_at,created_at,-title"),
    "/documents": ("name,-size", "-size,name", "size,-created_at,name"),
    "/users": ("name,-email", "-created_at,name", "name,created_at,-email"),
    AUTHOR_BOOKS_PATH: ("title,-created_at", "-updated_at,-title"),
}


def sort_orders(path: str) -> list[str]:
    """Return sort parameters of a list: none, each key in both directions, and several keys."""
    keys = SORT_KEYS[path]
    return ["", *keys, *(f"-{key}" for key in keys), *_mixed_sort_orders(path)]


def _mixed_sort_orders(path: str) -> tuple[str, ...]:
    """Return sort orders that have several keys in different directions.

    For a list without an entry above, they are two orders of its first two keys.
    """
    if path in _MIXED_SORT_ORDERS:
        return _MIXED_SORT_ORDERS[path]
    if len(SORT_KEYS[path]) == 1:
        return ()
    first, second = SORT_KEYS[path][:2]
    return (f"{first},-{second}", f"-{second},{first}")


def select_ids_in_order(path: str, sort: str) -> str:
    """Return the SQL that selects the ids of all rows of a list, in a sort order."""
    where = f"WHERE author_id = '{AUTHOR_ID}'" if path == AUTHOR_BOOKS_PATH else ""
    return f"SELECT id FROM {TABLE_NAMES[path]} {where} ORDER BY {order_by_terms(sort)}"


def order_by_terms(sort: str) -> str:
    """Return the terms of ORDER BY for a sort parameter, for example `title DESC, id DESC`.

    The id has the direction of the key before it.
    """
    keys = sort.split(",") if sort else ["created_at"]
    keys.append("-id" if keys[-1].startswith("-") else "id")
    # By default, Postgres sorts NULL last, and first in descending order, as the service does.
    return ", ".join(_order_by_term(key) for key in keys)


def _order_by_term(key: str) -> str:
    """Return a term of ORDER BY, for example `created_at DESC` for `-created_at`."""
    column = key.removeprefix("-")
    term = f'text_sort_key({column} COLLATE "C")' if column in TEXT_COLUMNS else column
    return f"{term} DESC" if key.startswith("-") else term
