"""Every table, in one list: what Alembic compares the database with."""

from typing import Final

from app.authors.models import Author
from app.books.models import Book
from app.core.models import Base
from app.users.models import User

TABLES: Final = (Author, Book, User)
metadata: Final = Base.metadata
