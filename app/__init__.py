"""Bookshelf: a reference CRUD web service."""

from typing import Final

# The name for programs: in problem types, tokens, log lines and database locks, for example.
NAME: Final = "bookshelf"
# The name for people. `make rename` changes both, here and in every other file.
TITLE: Final = "Bookshelf"
__version__ = "0.1.0"
# The contact and the license in the OpenAPI document. Replace them in a copy of the service. Each
# may also have a `url`, the contact an `email`, and the license an SPDX `identifier`.
CONTACT: Final = {"name": f"The maintainers of {TITLE}"}
LICENSE: Final = {"name": "Proprietary"}
