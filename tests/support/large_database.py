"""SQL that inserts so many rows that the query planner prefers indexes.

For some entities the distribution of the rows is defined here. The others have 30,000 rows with
the values of their entries in `tests.support.entities`.
"""

from typing import Final

from tests.support.entities import cases_in_insert_order
from tests.support.entity_case import EntityCase
from tests.support.rows import AUTHOR_BOOKS_PATH, AUTHOR_ID

# The number of rows in every table except books, which has 100,000.
ROW_COUNT: Final = 30_000
OWNER_ID: Final = 1

# The author AUTHOR_ID wrote one book in a hundred: too many to sort for each page, too few to find
# them quickly by reading the index of all books. Each word of a title occurs a few hundred times,
# except that "half" is in every other title and "rare" in fifty titles. The user OWNER_ID owns 937
# documents. A third of all documents have no file.
_ID: Final = "('01890000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid"
_CREATED_AT: Final = "timestamptz '2020-01-01Z' + n * interval '1 minute'"
_UPDATED_AT: Final = (
    f"timestamptz '2021-01-01Z' + abs(hashint4(n)) % {ROW_COUNT} * interval '1 minute'"
)
_RARE_WORD: Final = "CASE n % 600 WHEN 0 THEN ' rare' ELSE '' END"
_HAND_WRITTEN_INSERTS: Final = {
    "authors": f"""
INSERT INTO authors (id, name, dob, created_at, updated_at)
SELECT {_ID}, 'n' || hashint4(n) % 5000 || ' f' || hashint4(-n) % 5000,
    CASE WHEN n % 3 > 0 THEN date '1900-01-01' + abs(hashint4(n)) % 30000 END,
    {_CREATED_AT}, {_UPDATED_AT}
FROM generate_series(1, {ROW_COUNT}) n
""",
    "books": f"""
INSERT INTO books (id, title, author_id, created_at, updated_at)
SELECT {_ID}, 'a' || abs(hashint4(n)) % 999 || ' b' || abs(hashint4(-n)) % 999
    || CASE n % 2 WHEN 0 THEN ' half' ELSE '' END || CASE n % 2000 WHEN 0 THEN ' rare' ELSE '' END,
    CASE n % 100 WHEN 0 THEN '{AUTHOR_ID}'
    ELSE '01890000-0000-7000-8000-' || lpad((1 + n % 30000)::text, 12, '0') END::uuid,
    {_CREATED_AT}, timestamptz '2021-01-01Z' + abs(hashint4(n)) % 100000 * interval '1 minute'
FROM generate_series(1, 100000) n
""",
    "users": f"""
INSERT INTO users (name, email, password_hash, created_at)
SELECT 'n' || hashint4(n) % 5000 || {_RARE_WORD},
    'e' || hashint4(n) || '.' || n || '@example.com', 'x', {_CREATED_AT}
FROM generate_series(1, {ROW_COUNT}) n
""",
    "documents": f"""
INSERT INTO stored_objects (id, key)
SELECT ('01890000-0000-7000-b000-' || lpad(n::text, 12, '0'))::uuid, 'documents/' || n
FROM generate_series(1, {ROW_COUNT}) n;

INSERT INTO documents (id, file_id, owner_id, name, size, content_type, created_at)
SELECT {_ID},
    CASE WHEN n % 3 > 0 THEN '01890000-0000-7000-b000-' || lpad(n::text, 12, '0') END::uuid,
    CASE WHEN n % 32 = 0 THEN {OWNER_ID} WHEN n % 4 > 0 THEN {OWNER_ID} + n % 500 + 1 END,
    'n' || hashint4(n) % 5000 || {_RARE_WORD},
    CASE WHEN n % 3 > 0 THEN abs(hashint4(n)) % 30000 END,
    CASE n % 300 WHEN 0 THEN 'image/png' ELSE 'text/plain' END, {_CREATED_AT}
FROM generate_series(1, {ROW_COUNT}) n
""",
}
_USER_COUNTS: Final = f"""
INSERT INTO user_counts (day, count)
SELECT date '1950-01-01' + n, n FROM generate_series(1, {ROW_COUNT}) n
"""
# The entities whose distribution is not defined here.
GENERATED_CASES: Final = [
    case for case in cases_in_insert_order() if case.plural not in _HAND_WRITTEN_INSERTS
]
# The number of a page of 20 rows near the end of each list.
DEEP_PAGE_NUMBERS: Final = {
    **{case.path: 1400 for case in cases_in_insert_order()},
    "/books": 2499,
    AUTHOR_BOOKS_PATH: 45,
    "/reports/user-counts": 1400,
}


def large_database_sql() -> str:
    """Return the SQL that fills the large database."""
    statements = [_insert_statement(case) for case in cases_in_insert_order()]
    return ";".join([*statements, _USER_COUNTS])


def _insert_statement(case: EntityCase) -> str:
    """Return the SQL that inserts the rows of one entity."""
    if case.plural in _HAND_WRITTEN_INSERTS:
        return _HAND_WRITTEN_INSERTS[case.plural]
    columns = {"created_at": _CREATED_AT, "updated_at": _UPDATED_AT}
    if case.search_column is not None:
        columns[case.search_column] = f"{case.columns[case.search_column]} || {_RARE_WORD}"
    return case.with_columns(columns).insert_statement(f"generate_series(1, {ROW_COUNT}) n")
