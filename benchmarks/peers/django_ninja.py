"""A peer: Django Ninja with uvicorn, as in its pages "CRUD example" and "Pagination".

https://django-ninja.dev/tutorial/other/crud/ and
https://django-ninja.dev/guides/response/pagination/: sync views and the ORM, `paginate` with the
total for authors, and `CursorPagination` of Django Ninja for books. The connection pool is the one
that the page "Databases" of Django recommends with ASGI, with the size of ours. Of the middleware
that `startproject` configures, only the one that sets `Content-Length` is used. In the form
`production`, the token is checked as in https://django-ninja.dev/guides/authentication/.
"""

import os
from datetime import date, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import django
from django.conf import settings
from django.core.asgi import get_asgi_application

url = urlsplit(os.environ["DATABASE_URL"])
# The address of a TCP connection, or the directory of a Unix socket.
host = url.hostname or parse_qs(url.query)["host"][0]
pool_size = int(os.environ["POOL_SIZE"])
settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": url.path.lstrip("/"),
            "USER": url.username,
            "HOST": host,
            "PORT": url.port or "",
            "OPTIONS": {"pool": {"min_size": pool_size, "max_size": pool_size}},
        }
    },
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
)
django.setup()

from django.db import models  # noqa: E402 - Django wants its settings first
from django.shortcuts import get_object_or_404  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import timezone  # noqa: E402
from ninja import NinjaAPI, Schema  # noqa: E402
from ninja.pagination import CursorPagination, paginate  # noqa: E402
from ninja.security import HttpBearer  # noqa: E402


class Author(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid4)
    name = models.CharField(max_length=200)
    dob = models.DateField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "library"
        db_table = "authors"
        managed = False


class Book(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid4)
    title = models.CharField(max_length=300)
    author = models.ForeignKey(Author, on_delete=models.CASCADE)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "library"
        db_table = "books"
        managed = False


class User(models.Model):
    id = models.BigIntegerField(primary_key=True)
    name = models.CharField(max_length=100)
    role = models.CharField(max_length=6)

    class Meta:
        app_label = "library"
        db_table = "users"
        managed = False


class Token(models.Model):
    id = models.UUIDField(primary_key=True)
    user = models.ForeignKey(User, on_delete=models.CASCADE)
    digest = models.BinaryField()
    expires_at = models.DateTimeField()

    class Meta:
        app_label = "library"
        db_table = "tokens"
        managed = False


class AuthorIn(Schema):
    name: str
    dob: date | None = None


class AuthorPatch(Schema):
    name: str | None = None
    dob: date | None = None


class AuthorSummary(Schema):
    id: UUID
    name: str
    dob: date | None = None


class AuthorOut(AuthorSummary):
    created_at: datetime
    updated_at: datetime


class BookOut(Schema):
    id: UUID
    title: str
    author_id: UUID
    author: AuthorSummary
    created_at: datetime
    updated_at: datetime


class AuthBearer(HttpBearer):
    def authenticate(self, request: Any, token: str) -> User | None:
        digest = sha256(token.encode()).digest()
        valid_tokens = Token.objects.select_related("user").filter(expires_at__gt=timezone.now())
        valid_token = valid_tokens.filter(digest=digest).first()
        return valid_token and valid_token.user


api = NinjaAPI()
if os.environ["BENCHMARK_FORM"] == "production":
    api = NinjaAPI(auth=AuthBearer())


@api.get("/books", response=list[BookOut])
@paginate(CursorPagination, ordering=("created_at", "id"), page_size=20)
def list_books(request: Any) -> Any:
    return Book.objects.select_related("author")


@api.get("/books/{book_id}", response=BookOut)
def get_book(request: Any, book_id: UUID) -> Any:
    return get_object_or_404(Book.objects.select_related("author"), id=book_id)


@api.get("/authors", response=list[AuthorOut])
@paginate
def list_authors(request: Any) -> Any:
    return Author.objects.order_by("created_at")


@api.get("/authors/{author_id}", response=AuthorOut)
def get_author(request: Any, author_id: UUID) -> Any:
    return get_object_or_404(Author, id=author_id)


@api.post("/authors", response=AuthorOut)
def create_author(request: Any, payload: AuthorIn) -> Any:
    return Author.objects.create(**payload.dict())


@api.patch("/authors/{author_id}", response=AuthorOut)
def update_author(request: Any, author_id: UUID, payload: AuthorPatch) -> Any:
    author = get_object_or_404(Author, id=author_id)
    for attr, value in payload.dict(exclude_unset=True).items():
        setattr(author, attr, value)
    author.save()
    return author


@api.delete("/authors/{author_id}")
def delete_author(request: Any, author_id: UUID) -> Any:
    author = get_object_or_404(Author, id=author_id)
    author.delete()
    return {"success": True}


urlpatterns = [path("", api.urls)]
app = get_asgi_application()
