"""Health check of the container image: `python -m app.probe` fails if the server is not alive.

Docker runs it every few seconds, so it starts fast: it imports only the standard library. Unlike
most HTTP clients, `http.client` does not send the request to the proxy that HTTP_PROXY names.
"""

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

TIMEOUT_SECONDS = 4


def check_server_health() -> int:
    """Check the health of the server in this container by a request to `/livez`.

    Returns the exit code of the health check: 0 if the response is 200, and 1 otherwise.
    """
    port = int(os.environ.get("PORT") or 8000)
    # `localhost` stands for 127.0.0.1 and ::1, because the server may listen on either of them.
    connection = HTTPConnection("localhost", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except (OSError, HTTPException):
        return 1
    finally:
        connection.close()
    if status == HTTPStatus.OK:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(check_server_health())
