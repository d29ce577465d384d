"""Invokes `documents verify`, and describes what it prints."""

import json
from urllib.parse import urlsplit

from app import embedded
from app.settings import Settings
from tests.support.commands import invoke_command
from tests.support.factories import Json
from tests.support.processes import CommandResult


async def verify(url: str, settings: Settings, *options: str) -> CommandResult:
    """Invoke `documents verify` for a database and the store of the settings."""
    return await invoke_command(
        *("documents", "verify", *options),
        DATABASE_URL=url,
        S3_ENDPOINT_URL=settings.s3_endpoint_url or "",
        S3_PREFIX=settings.s3_prefix,
    )


def problem_line(document: Json, reason: str) -> str:
    """Return the line that `documents verify` prints for a document."""
    problem = {
        "id": document["id"],
        "name": document["name"],
        "key": get_key(document),
        "reason": reason,
    }
    return json.dumps(problem, separators=(",", ":")) + "\n"


def get_key(document: Json) -> str:
    """Return the key of a document's file, which its URL contains after the bucket."""
    return urlsplit(document["file_url"]).path.removeprefix(f"/{embedded.BUCKET}/")
