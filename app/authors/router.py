"""HTTP endpoints of authors: list, create, get, update, delete and delete several."""

from app.authors.errors import AuthorHasBooks
from app.authors.schemas import AuthorCreate, AuthorQuery, AuthorRead, AuthorUpdate
from app.authors.service import AuthorService
from app.core.http import CrudEndpoints, Router

router = Router(prefix="/authors", tags=["authors"])

CrudEndpoints(
    noun="author",
    plural="authors",
    service_class=AuthorService,
    create_model=AuthorCreate,
    update_model=AuthorUpdate,
    read_model=AuthorRead,
    query_model=AuthorQuery,
    read_permission="catalog:read",
    write_permission="catalog:write",
    delete_errors=[AuthorHasBooks],
    deletes_many=True,
).add_to(router)
