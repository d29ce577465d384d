"""Bookshelf: a reference CRUD web service."""

from typing import Final

# The name for programs: in problem types, tokens, log lines and database locks, for example.
NAME: Final = "bookshelf"
# The name for people. `make rename` changes both, here and in every other file.
TITLE: Final = "Bookshelf"
__version__ = "0.1.0"
