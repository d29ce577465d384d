"""Keys under which the service keeps its own values in the ASGI scope of a request."""

from typing import Final

# True in the scope of a GET request that the client sent as HEAD: the body is not sent.
HEAD: Final = "bookshelf.head"
