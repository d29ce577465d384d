"""Bookshelf: a reference CRUD web service."""

__version__ = "0.1.0"
