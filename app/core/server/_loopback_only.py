"""Middleware for a server that lets everyone change everything, and so serves only its machine."""

from ipaddress import ip_address
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.errors import Forbidden, ServiceError
from app.core.http import problem_response


class OtherMachine(ServiceError):
    """The request comes from another machine, but everyone who can connect may change data."""

    status = 403
    type = Forbidden.type
    detail = (
        "Without ANONYMOUS_ACCESS, this server lets everyone on its machine change everything, and"
        " rejects other machines. Set ANONYMOUS_ACCESS, for example to read."
    )


class LoopbackOnlyMiddleware:
    """Middleware that rejects requests of other machines.

    An application does not know the address on which an ASGI server listens until a request
    arrives: `uvicorn --host 0.0.0.0` does not set HOST.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request of this machine on to the application."""
        is_remote = scope["type"] != "lifespan" and (
            _is_address_of_network(scope.get("client"))
            # A proxy that the server trusts may have named any client.
            or _is_address_of_network(scope.get("server"))
        )
        if is_remote:
            response = problem_response(Request(scope), OtherMachine())
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _is_address_of_network(address: Any) -> bool:
    """Return whether an address, such as `("192.0.2.1", 8000)`, is not one of this machine alone.

    It is None or a path for a Unix socket, and a word for clients of tests.
    """
    if not address:
        return False
    try:
        ip = ip_address(address[0])
    except ValueError:
        return False
    # A server that listens on all addresses may not know on which one a request has arrived.
    return not ip.is_loopback and not ip.is_unspecified
