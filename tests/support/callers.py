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

ROLES = {
    "owner": "member",
    "stranger": "member",
    "editor": "editor",
    "admin": "admin",
    "another admin": "admin",  # the last one could be neither deleted nor demoted
}
IDS = {name: number for number, name in enumerate(ROLES, 1001)}
# Whose each token is. Those that work no more were an admin's: nobody could do more with them.
BEARERS = {name: name for name in ROLES} | {"expired": "admin", "revoked": "admin"}
TOKENS = {name: secret.generate_token() for name in BEARERS}
TOKEN_IDS = {name: UUID(int=number) for number, name in enumerate(BEARERS, 1)}
PASSWORD = "correct horse"
AUTHOR = UUID(int=11)
WRITER = UUID(FIRST_ID)  # the author to whom valid bodies of books refer
BOOK, DOCUMENT, FILE, UPLOAD = (UUID(int=number) for number in range(13, 17))
# The row of each collection that requests are for: hand-made ones, and row 1 of other entities.
HAND_MADE = {"/authors": AUTHOR, "/books": BOOK, "/documents": DOCUMENT}
GENERATED = [case for case in cases_in_insert_order() if case.path not in {*HAND_MADE, "/users"}]
THINGS = {**HAND_MADE, **{case.path: UUID(FIRST_ID) for case in GENERATED}}

_PERSON = """
INSERT INTO users (id, name, email, role, password_hash) OVERRIDING SYSTEM VALUE
VALUES (:id, :name, :email, :role, :password_hash)
"""
# All were used lately: that is not noted again. One expires at this very moment.
_TOKEN = """
INSERT INTO tokens (id, user_id, name, digest, expires_at, last_used_at)
VALUES (:id, :user_id, 'laptop', :digest, now() + make_interval(secs => :seconds), now())
"""


def email(name: str) -> str:
    return f"{name.replace(' ', '.')}@example.com"


def mistyped(token: str, place: int = 40) -> str:
    """The token with another hexadecimal digit at a place."""
    other = "1" if token[place] == "0" else "0"
    return "".join(other if n == place else digit for n, digit in enumerate(token))


def allow_anonymous(app: FastAPI, access: str) -> None:
    """Change `ANONYMOUS_ACCESS` until the test ends."""
    changed = get_resources(app).settings.model_copy(update={"anonymous_access": access})
    replace_resources(app, settings=changed)


async def add_people(database: Database, password_hash: str = "x") -> None:
    """Everybody, with the same password, and the tokens."""
    people = [
        {"id": IDS[name], "name": name, "email": email(name), "role": role}
        | {"password_hash": password_hash}
        for name, role in ROLES.items()
    ]
    tokens = [
        {"id": TOKEN_IDS[name], "user_id": IDS[person], "digest": secret.token_digest(TOKENS[name])}
        | {"seconds": 0.0 if name == "expired" else 3600.0}
        for name, person in BEARERS.items()
    ]
    await execute(database, _PERSON, people)
    await execute(database, _TOKEN, tokens)


async def add_things(database: Database, owner: str) -> None:
    """Insert an author without books, a book, somebody's document with a file and an upload.

    Row 1 of every other entity comes after them.
    """
    authors = [{"id": AUTHOR, "name": "Ursula"}, {"id": WRITER, "name": "Octavia"}]
    book = {"id": BOOK, "title": "Kindred", "author_id": WRITER}
    announced = {"content_type": "text/plain", "size": 1, "document_id": DOCUMENT}
    objects = [
        {"id": key, "key": str(key), "filename": "a.txt", "upload_id": upload_id} | announced
        for key, upload_id in ((FILE, None), (UPLOAD, "of no upload"))
    ]
    document = {"id": DOCUMENT, "name": "Thesis", "owner_id": IDS[owner], "file_id": FILE}
    await insert_rows(database, "authors", authors)
    await insert_rows(database, "books", [book])
    await insert_rows(database, "stored_objects", objects)
    await insert_rows(database, "documents", [document])
    for case in GENERATED:
        await add_referenced_rows(database, case)
        await add_rows(database, case, [{"n": 1}])
