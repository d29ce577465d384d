"""Users of every role with tokens, and resources that they may request.

The callers are "owner", "stranger", "editor", "admin" and "another admin". The rows are inserted
into the tables without a login, because hashing a password takes longer than most tests.
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
    # The last administrator could be neither deleted nor demoted.
    "another admin": "admin",
}
USER_IDS = {name: number for number, name in enumerate(CALLER_ROLES, 1001)}
# The user to whom each token belongs. The invalid tokens belong to an administrator, so that they
# would be accepted if they were not checked.
TOKEN_OWNERS = {name: name for name in CALLER_ROLES} | {"expired": "admin", "revoked": "admin"}
TOKENS = {name: secret.generate_token() for name in TOKEN_OWNERS}
TOKEN_IDS = {name: UUID(int=number) for number, name in enumerate(TOKEN_OWNERS, 1)}
PASSWORD = "correct horse"
AUTHOR_ID = UUID(int=11)
# The author in the valid request bodies of books.
BOOK_AUTHOR_ID = UUID(FIRST_ID)
BOOK_ID = UUID(int=13)
DOCUMENT_ID = UUID(int=14)
FILE_ID = UUID(int=15)
UPLOAD_ID = UUID(int=16)
# The id in the path of each request: one of the ids above, or that of row 1 of another entity.
HAND_WRITTEN_IDS = {"/authors": AUTHOR_ID, "/books": BOOK_ID, "/documents": DOCUMENT_ID}
GENERATED_CASES = [
    case for case in cases_in_insert_order() if case.path not in {*HAND_WRITTEN_IDS, "/users"}
]
RESOURCE_IDS = {**HAND_WRITTEN_IDS, **{case.path: UUID(FIRST_ID) for case in GENERATED_CASES}}

_INSERT_USER = """
INSERT INTO users (id, name, email, role, password_hash) OVERRIDING SYSTEM VALUE
VALUES (:id, :name, :email, :role, :password_hash)
"""
# All tokens were used now, so that the service does not update `last_used_at`. The token "expired"
# expires now.
_INSERT_TOKEN = """
INSERT INTO tokens (id, user_id, name, digest, expires_at, last_used_at)
VALUES (:id, :user_id, 'laptop', :digest, now() + make_interval(secs => :seconds), now())
"""


def email_of_caller(name: str) -> str:
    """Return the email address of a caller: `another.admin@example.com`."""
    return f"{name.replace(' ', '.')}@example.com"


def change_hex_digit(token: str, position: int = 40) -> str:
    """Return a token with another hexadecimal digit at one position."""
    digit = "1" if token[position] == "0" else "0"
    return token[:position] + digit + token[position + 1 :]


def set_anonymous_access(app: FastAPI, access: str) -> None:
    """Set `ANONYMOUS_ACCESS` to "none", "read" or "full" until the test ends."""
    settings = get_resources(app).settings.model_copy(update={"anonymous_access": access})
    replace_resources(app, settings=settings)


async def add_callers(database: Database, password_hash: str = "x") -> None:
    """Insert all callers, who have the same password, and their tokens.

    The default hash is invalid, so nobody can log in.
    """
    users = []
    for caller, role in CALLER_ROLES.items():
        users.append(
            {
                "id": USER_IDS[caller],
                "name": caller,
                "email": email_of_caller(caller),
                "role": role,
                "password_hash": password_hash,
            }
        )
    tokens = []
    for caller, owner in TOKEN_OWNERS.items():
        tokens.append(
            {
                "id": TOKEN_IDS[caller],
                "user_id": USER_IDS[owner],
                "digest": secret.compute_token_digest(TOKENS[caller]),
                "seconds": 0.0 if caller == "expired" else 3600.0,
            }
        )
    await execute(database, _INSERT_USER, users)
    await execute(database, _INSERT_TOKEN, tokens)


async def add_resources(database: Database, owner: str) -> None:
    """Insert a row of every collection, among them a document of `owner` with a file and an upload.

    The author AUTHOR_ID has no books and can be deleted.
    """
    authors = [{"id": AUTHOR_ID, "name": "Ursula"}, {"id": BOOK_AUTHOR_ID, "name": "Octavia"}]
    book = {"id": BOOK_ID, "title": "Kindred", "author_id": BOOK_AUTHOR_ID}
    objects = []
    for object_id, upload_id in ((FILE_ID, None), (UPLOAD_ID, "of no upload")):
        objects.append(
            {
                "id": object_id,
                "key": str(object_id),
                "filename": "a.txt",
                "content_type": "text/plain",
                "size": 1,
                "document_id": DOCUMENT_ID,
                "upload_id": upload_id,
            }
        )
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
