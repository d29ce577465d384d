"""Every table, in one list: what Alembic compares a database with."""

from app.authors.models import Author
from app.books.models import Book
from app.users.models import User

TABLES = (Author, Book, User)
metadata = Author.metadata
