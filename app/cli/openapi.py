"""The command `openapi`."""

import json

import typer

from app.cli import runtime
from app.main import create_app


def openapi() -> None:
    """Print the OpenAPI document of a server with the current settings, as JSON."""
    document = create_app(runtime.load_settings()).openapi()
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
