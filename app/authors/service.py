"""Operations on authors."""

from app.authors.repository import AuthorRepository
from app.authors.schemas import AuthorCreate, AuthorRead, AuthorUpdate
from app.core.crud import CrudService


class AuthorService(CrudService[AuthorRead, AuthorCreate, AuthorUpdate]):
    """Operations on authors, used by their HTTP endpoints and by other services."""

    repository_class = AuthorRepository
