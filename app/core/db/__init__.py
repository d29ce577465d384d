"""Database access: models, sessions, statements and repositories."""

from app.core.db._batches import RowsToChange, delete_in_batches, update_in_batches
from app.core.db._connection_options import TRANSACTION_POOLER_OPTIONS
from app.core.db._database import Database
from app.core.db._engine import create_postgres_engine, prefer_primary
from app.core.db._folded_text import contains_words, search_terms, text_sort_key
from app.core.db._list_repository import ListRepository
from app.core.db._listing import Condition, ListStatements, Select
from app.core.db._models import Base, Entity
from app.core.db._replication import require_replication
from app.core.db._repository import Repository
from app.core.db._schema_version import (
    OUTDATED_SCHEMA_PROBLEM,
    find_database_problem,
    wait_for_schema,
)
from app.core.db._sessions import (
    AutocommitSession,
    Parameters,
    Row,
    Rows,
    Session,
    TransactionSession,
    mark_reusable,
)
from app.core.db._sqlstate import DATABASE_AND_OS_ERRORS, DATABASE_ERRORS, is_conflict
from app.core.db._statements import Statements, equals
from app.core.db._table_scans import delete_by_table_scan

__all__ = [
    "DATABASE_AND_OS_ERRORS",
    "DATABASE_ERRORS",
    "OUTDATED_SCHEMA_PROBLEM",
    "TRANSACTION_POOLER_OPTIONS",
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
    "RowsToChange",
    "Select",
    "Session",
    "Statements",
    "TransactionSession",
    "contains_words",
    "create_postgres_engine",
    "delete_by_table_scan",
    "delete_in_batches",
    "equals",
    "find_database_problem",
    "is_conflict",
    "mark_reusable",
    "prefer_primary",
    "require_replication",
    "search_terms",
    "text_sort_key",
    "update_in_batches",
    "wait_for_schema",
]
