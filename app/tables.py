"""Every table, in one list: what Alembic compares a database with."""

from app.authors.models import Author
from app.books.models import Book
from app.documents.models import Document, StoredObject
from app.users.models import User

TABLES = (Author, Book, Document, StoredObject, User)
metadata = Author.metadata
