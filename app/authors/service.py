"""Manage authors."""

from app.authors.repository import AuthorRepository
from app.authors.schemas import AuthorCreate, AuthorRead, AuthorUpdate
from app.core.crud import CrudService


class AuthorService(CrudService[AuthorRead, AuthorCreate, AuthorUpdate]):
    """Operations on authors, for HTTP and the command line."""

    repository_class = AuthorRepository
