"""The URLs of databases: which are valid, and their form for SQLAlchemy."""

from app.database_url._database_url import DatabaseUrl, to_sqlalchemy_url
from app.database_url._tls import SYSTEM_CERTIFICATES, load_client_certificate

__all__ = ["SYSTEM_CERTIFICATES", "DatabaseUrl", "load_client_certificate", "to_sqlalchemy_url"]
