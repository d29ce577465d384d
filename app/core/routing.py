"""What the framework's routes leave open: strict JSON bodies, unknown parameters, `Allow`."""

import json
from collections.abc import Callable, Coroutine, Iterator
from email.message import Message
from typing import Any, Final, get_origin

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic.fields import FieldInfo

from app.core.errors import (
    Invalid,
    InvalidRequest,
    MalformedRequest,
    PayloadTooLarge,
    UnsupportedMediaType,
)

MAX_BODY: Final = 1024 * 1024  # bytes, as received
JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Route(APIRoute):
    """A route that refuses unknown query parameters and any body that is not strictly JSON."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        known = dict(_query_parameters(self.dependant))
        media_types = {JSON, MERGE_PATCH} if "PATCH" in (self.methods or ()) else {JSON}
        has_body = self.body_field is not None

        async def checked(request: Request) -> Response:
            if request.scope["query_string"]:
                _check_parameters(request, known)
            if has_body:
                request = await _with_json(request, media_types)
            return await handle(request)

        return checked


def allowed_methods(request: Request) -> dict[str, str]:
    """`Allow` (and `Accept-Patch`) with every method that any route of the path knows."""
    path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
    methods = {"OPTIONS"}
    for route in request.app.routes:
        if route.path_regex.match(path):
            methods |= set(getattr(route, "methods", None) or {"GET"})
    if "GET" in methods:
        methods.add("HEAD")
    headers = {"Allow": ", ".join(sorted(methods))}
    if "PATCH" in methods:
        headers["Accept-Patch"] = f"{JSON}, {MERGE_PATCH}"
    return headers


def _query_parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """Every query parameter of a route with whether it may be repeated."""
    for field in dependant.query_params:
        model = field.field_info.annotation
        fields: dict[str, FieldInfo] = getattr(
            model, "model_fields", {field.name: field.field_info}
        )
        for name, info in fields.items():
            yield info.alias or name, get_origin(info.annotation) in {list, tuple}
    for dependency in dependant.dependencies:
        yield from _query_parameters(dependency)


def _check_parameters(request: Request, known: dict[str, bool]) -> None:
    faults, seen = [], set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            faults.append(_fault(name, "unknown_parameter", "There is no such parameter"))
        elif name in seen and not known[name]:
            faults.append(_fault(name, "repeated_parameter", "May be given only once"))
        seen.add(name)
    if faults:
        raise InvalidRequest(errors=faults)


def _fault(name: str, code: str, detail: str) -> Invalid:
    return Invalid(parameter=name, code=code, detail=detail)


class _JSONRequest(Request):
    """A request whose body has been parsed already."""

    parsed: Any

    async def json(self) -> Any:
        return self.parsed


async def _with_json(request: Request, media_types: set[str]) -> Request:
    if not _is_json(request.headers.get("content-type", ""), media_types):
        raise UnsupportedMediaType
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType
    result = _JSONRequest(request.scope, _replay(await _body(request)))
    result.parsed = parse(await result.body())
    return result


def _is_json(content_type: str, media_types: set[str]) -> bool:
    message = Message()
    message["content-type"] = content_type
    charset = str(message.get_param("charset", "utf-8")).lower()
    return message.get_content_type() in media_types and charset in {"utf-8", "utf8"}


async def _body(request: Request) -> bytes:
    # FastAPI's own limit answers in plain text whenever Content-Length announces too much.
    if int(request.headers.get("content-length", 0)) > MAX_BODY:
        raise PayloadTooLarge
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise PayloadTooLarge
        chunks.append(chunk)
    return b"".join(chunks)


def _replay(body: bytes) -> Callable[[], Coroutine[Any, Any, dict[str, Any]]]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def parse(body: bytes) -> Any:
    """JSON in the strict sense of RFC 8259 and I-JSON: UTF-8, unique keys, no NaN, whole pairs."""
    try:
        text = body.decode()
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # lone surrogates cannot be encoded
    except (ValueError, RecursionError):
        raise MalformedRequest from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object names a key twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
