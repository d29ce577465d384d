"""Does the server of this container live? The image's HEALTHCHECK: python -m app.probe

Asked every few seconds: it loads nothing of the service, nor of what goes by HTTP_PROXY.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

TIMEOUT = 4  # seconds


def main() -> int:
    """Return the exit code."""
    # Connect by name, because the server may listen on either kind of address.
    connection = HTTPConnection("localhost", int(os.environ.get("PORT") or 8000), timeout=TIMEOUT)
    try:
        connection.request("GET", "/livez")
        return 0 if connection.getresponse().status == 200 else 1  # noqa: PLR2004 - OK
    except (OSError, HTTPException):
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
