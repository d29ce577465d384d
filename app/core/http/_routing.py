"""What the framework's routes leave open: who may, strict bodies, unknown parameters, retries."""

from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from email.message import Message
from typing import Any, ClassVar, Final, get_origin
from urllib.parse import parse_qsl

from fastapi import Request, Response, params
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.datastructures import FormData

from app.core import access, errors
from app.core.formats import parse_json
from app.core.http import _idempotency as idempotent_requests
from app.core.http._authorization import admit

MAX_BODY: Final = 1024 * 1024  # bytes, as received
MAX_FIELDS: Final = 100  # of a form
JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
FORM: Final = "application/x-www-form-urlencoded"
_PLAIN: Final = ("utf-8", "identity")


class Route(APIRoute):
    """A route that says who may, and refuses unknown parameters and bodies that are not strict."""

    words: ClassVar[set[str]] = set()  # the paths without parameters: their last parts are no ids

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        options["operation_id"] = endpoint.__name__
        form = (options.get("openapi_extra") or {}).get("requestBody", {}).get("content", {})
        patches = "PATCH" in (options.get("methods") or ())
        self.content = None if form else ""  # what is known of it before the handler reads it
        self.media_types = [*form] or ([JSON, MERGE_PATCH] if patches else [JSON])
        # What `requires` said; a route that says nothing is a mistake of ours.
        self.permission: access.Permission | None = endpoint.permission  # type: ignore[attr-defined]
        self.keyed = "POST" in (options.get("methods") or ()) and self.permission is not None
        super().__init__(path, endpoint, **options)
        if not self.param_convertors:
            self.words.add(path)
        if self.body_field is not None and isinstance(self.body_field.field_info, params.Form):
            self.media_types = [FORM]
        documented = {"parameters": list(_documented(self.dependant))}
        self.openapi_extra = documented | (self.openapi_extra or {})

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        known = dict(_query_parameters(self.dependant))

        async def checked(request: Request) -> Response:
            if self.param_convertors and request.scope["path"] in self.words:
                raise errors.MethodNotAllowed
            if self.permission is not None:
                await admit(request, self.permission)
            if request.scope["query_string"]:
                _check_parameters(request, known)
            if self.body_field is not None:
                request = await _with_body(request, self.media_types)
            key = idempotent_requests.parse_key(request) if self.keyed else None
            if key is None:
                return await handle(request)
            content = request.value if isinstance(request, _ReadRequest) else self.content
            return await idempotent_requests.run_idempotently(request, key, content, handle)

        return checked


def _query_models(dependant: Dependant) -> Iterator[type[BaseModel]]:
    """The models whose methods a route depends on: they read its query."""
    for dependency in dependant.dependencies:
        owner = getattr(dependency.call, "__self__", None)
        if isinstance(owner, type) and issubclass(owner, BaseModel):
            yield owner
        yield from _query_models(dependency)


def _query_parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """Every query parameter of a route, with whether it may be repeated."""
    for model in _query_models(dependant):
        for name, field in model.model_fields.items():
            yield name, get_origin(field.annotation) is tuple
    for parameter in dependant.query_params:
        yield parameter.alias, get_origin(parameter.field_info.annotation) in {list, tuple}
    for dependency in dependant.dependencies:
        yield from _query_parameters(dependency)


def _documented(dependant: Dependant) -> Iterator[dict[str, Any]]:
    for model in _query_models(dependant):
        for name, schema in model.model_json_schema()["properties"].items():
            about = {"description": schema.pop("description"), "schema": schema}
            yield {"name": name, "in": "query", "required": False, **about}


def _check_parameters(request: Request, known: dict[str, bool]) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    faults = []
    for name in dict.fromkeys(names):
        if name not in known:
            faults.append(_fault(name, "unknown_parameter", "There is no such parameter"))
        elif names.count(name) > 1 and not known[name]:
            faults.append(_fault(name, "repeated_parameter", "May be given only once"))
    if faults:
        raise errors.InvalidRequest(*faults)


def _fault(name: str, code: str, detail: str) -> errors.Fault:
    return errors.Fault(parameter=name, code=code, detail=detail)


class _ReadRequest(Request):
    """A request whose body has been read and parsed already."""

    content: bytes
    value: Any

    async def body(self) -> bytes:
        return self.content

    async def json(self) -> Any:
        return self.value

    async def form(self, **_: Any) -> FormData:  # type: ignore[override]
        return FormData(self.value)


async def _with_body(request: Request, media_types: list[str]) -> Request:
    message = Message()
    message["content-type"] = ", ".join(request.headers.getlist("content-type"))
    charset = str(message.get_param("charset", "utf-8")).lower()
    encoding = ", ".join(request.headers.getlist("content-encoding")).lower() or "identity"
    if message.get_content_type() not in media_types or (charset, encoding) != _PLAIN:
        raise errors.UnsupportedMediaType
    read = _ReadRequest(request.scope)
    read.content = await _body(request)
    try:
        read.value = (_fields if media_types == [FORM] else parse_json)(read.content)
    except ValueError:
        raise errors.MalformedRequest from None
    return read


def _fields(form: bytes) -> list[tuple[str, str]]:
    """A form's fields, none of which may be given twice."""
    options: Any = {"keep_blank_values": True, "errors": "strict", "max_num_fields": MAX_FIELDS}
    fields = parse_qsl(form.decode(), **options)
    counts = Counter(name for name, _ in fields)
    places = (errors.pointer(name) for name, count in counts.items() if count > 1)
    if faults := [
        errors.Fault(pointer=place, code="repeated_field", detail="May be given only once")
        for place in places
    ]:
        raise errors.InvalidRequest(*faults)
    return fields


async def _body(request: Request) -> bytes:
    # FastAPI's max_body_size answers in plain text whenever Content-Length announces too much.
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise errors.PayloadTooLarge
    return bytes(body)
