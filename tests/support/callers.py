"""Who calls: people of every role with their tokens, and what is theirs, written into the tables.

Nobody logs in for it: a password would take longer to hash than most tests to run.
"""

from uuid import UUID

from fastapi import FastAPI

from app.core.db import Database
from app.tokens import secret
from tests.support.entities import cases_in_insert_order
from tests.support.entity_case import FIRST_ID
from tests.support.resources import get_resources, replace_resources
from tests.support.rows import add_referenced_rows, add_rows, execute, insert_rows

CALLER_ROLES = {
    "owner": "member",
    "stranger": "member",
    "editor": "editor",
    "admin": "admin",
    "another admin": "admin",  # the last one could be neither deleted nor demoted
}
USER_IDS = {name: number for number, name in enumerate(CALLER_ROLES, 1001)}
# Whose each token is. Those that work no more were an admin's: nobody could do more with them.
TOKEN_OWNERS = {name: name for name in CALLER_ROLES} | {"expired": "admin", "revoked": "admin"}
TOKENS = {name: secret.generate_token() for name in TOKEN_OWNERS}
TOKEN_IDS = {name: UUID(int=number) for number, name in enumerate(TOKEN_OWNERS, 1)}
PASSWORD = "correct horse"
AUTHOR_ID = UUID(int=11)
BOOK_AUTHOR_ID = UUID(FIRST_ID)  # the author to whom valid bodies of books refer
BOOK_ID, DOCUMENT_ID, FILE_ID, UPLOAD_ID = (UUID(int=number) for number in range(13, 17))
# The row of each collection that requests are for: hand-made ones, and row 1 of other entities.
HAND_WRITTEN_IDS = {"/authors": AUTHOR_ID, "/books": BOOK_ID, "/documents": DOCUMENT_ID}
GENERATED_CASES = [
    case for case in cases_in_insert_order() if case.path not in {*HAND_WRITTEN_IDS, "/users"}
]
RESOURCE_IDS = {**HAND_WRITTEN_IDS, **{case.path: UUID(FIRST_ID) for case in GENERATED_CASES}}

_INSERT_USER = """
INSERT INTO users (id, name, email, role, password_hash) OVERRIDING SYSTEM VALUE
VALUES (:id, :name, :email, :role, :password_hash)
"""
# All were used lately: that is not noted again. One expires at this very moment.
_INSERT_TOKEN = """
INSERT INTO tokens (id, user_id, name, digest, expires_at, last_used_at)
VALUES (:id, :user_id, 'laptop', :digest, now() + make_interval(secs => :seconds), now())
"""


def email_of_caller(name: str) -> str:
    return f"{name.replace(' ', '.')}@example.com"


def change_hex_digit(token: str, place: int = 40) -> str:
    """The token with another hexadecimal digit at a place."""
    other = "1" if token[place] == "0" else "0"
    return "".join(other if n == place else digit for n, digit in enumerate(token))


def set_anonymous_access(app: FastAPI, access: str) -> None:
    """Change `ANONYMOUS_ACCESS` until the test ends."""
    changed = get_resources(app).settings.model_copy(update={"anonymous_access": access})
    replace_resources(app, settings=changed)


async def add_callers(database: Database, password_hash: str = "x") -> None:
    """Everybody, with the same password, and the tokens."""
    people = [
        {"id": USER_IDS[name], "name": name, "email": email_of_caller(name), "role": role}
        | {"password_hash": password_hash}
        for name, role in CALLER_ROLES.items()
    ]
    tokens = [
        {
            "id": TOKEN_IDS[name],
            "user_id": USER_IDS[person],
            "digest": secret.token_digest(TOKENS[name]),
        }
        | {"seconds": 0.0 if name == "expired" else 3600.0}
        for name, person in TOKEN_OWNERS.items()
    ]
    await execute(database, _INSERT_USER, people)
    await execute(database, _INSERT_TOKEN, tokens)


async def add_resources(database: Database, owner: str) -> None:
    """Insert an author without books, a book, somebody's document with a file and an upload.

    Row 1 of every other entity comes after them.
    """
    authors = [{"id": AUTHOR_ID, "name": "Ursula"}, {"id": BOOK_AUTHOR_ID, "name": "Octavia"}]
    book = {"id": BOOK_ID, "title": "Kindred", "author_id": BOOK_AUTHOR_ID}
    announced = {"content_type": "text/plain", "size": 1, "document_id": DOCUMENT_ID}
    objects = [
        {"id": key, "key": str(key), "filename": "a.txt", "upload_id": upload_id} | announced
        for key, upload_id in ((FILE_ID, None), (UPLOAD_ID, "of no upload"))
    ]
    document = {
        "id": DOCUMENT_ID,
        "name": "Thesis",
        "owner_id": USER_IDS[owner],
        "file_id": FILE_ID,
    }
    await insert_rows(database, "authors", authors)
    await insert_rows(database, "books", [book])
    await insert_rows(database, "stored_objects", objects)
    await insert_rows(database, "documents", [document])
    for case in GENERATED_CASES:
        await add_referenced_rows(database, case)
        await add_rows(database, case, [{"n": 1}])
