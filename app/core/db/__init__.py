"""Database access: models, sessions, statements and repositories."""

from app.core.db._database import POOLED, Database
from app.core.db._list_repository import ListRepository
from app.core.db._listing import Condition, ListStatements, Select
from app.core.db._models import Base, Entity, search_column
from app.core.db._repository import Repository
from app.core.db._schema_version import find_database_fault
from app.core.db._sessions import (
    AutocommitSession,
    Parameters,
    Row,
    Rows,
    Session,
    TransactionSession,
    reusable,
)
from app.core.db._sqlstate import DATABASE_ERRORS, FAILURES, sqlstate, undone
from app.core.db._statements import Statements, equals

__all__ = [
    "DATABASE_ERRORS",
    "FAILURES",
    "POOLED",
    "AutocommitSession",
    "Base",
    "Condition",
    "Database",
    "Entity",
    "ListRepository",
    "ListStatements",
    "Parameters",
    "Repository",
    "Row",
    "Rows",
    "Select",
    "Session",
    "Statements",
    "TransactionSession",
    "equals",
    "find_database_fault",
    "reusable",
    "search_column",
    "sqlstate",
    "undone",
]
