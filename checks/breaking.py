"""What a client of one OpenAPI document can no longer rely on in another."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

Json = dict[str, Any]
# Limits, with what each means where it is not stated.
_LEAST: Final = {"minLength": 0, "minItems": 0, "minimum": float("-inf")}
_MOST: Final = dict.fromkeys(("maxLength", "maxItems", "maximum"), float("inf"))
_FORM: Final = ("pattern", "format")
_ELSE: Final = ["anything else"]


class Break(NamedTuple):
    """A promise that an operation no longer keeps."""

    operation: str
    what: str


def breaks(old: Json, new: Json) -> Iterator[Break]:
    """Every promise of the old document that the new one does not make."""
    for path, item in old["paths"].items():
        for method, operation in item.items():
            now = new["paths"].get(path, {}).get(method)
            found = [f"{method.upper()} {path} is gone"] if now is None else []
            if now is not None:
                found = list(_of_operation(operation, now, (old, new)))
            yield from (Break(operation["operationId"], what) for what in found)


def _of_operation(old: Json, new: Json, documents: tuple[Json, Json]) -> Iterator[str]:
    if old["operationId"] != new["operationId"]:
        yield f"is called {new['operationId']}"
    if _free(old) and not _free(new):
        yield "needs a token"
    sent, got = _Schemas(documents, sent=True), _Schemas(documents, sent=False)
    yield from _of_parameters(old, new, sent)
    yield from _of_body(old.get("requestBody", {}), new.get("requestBody", {}), sent)
    yield from _of_answers(old["responses"], new["responses"], got)


def _free(operation: Json) -> bool:
    return {} in operation.get("security", [{}])


def _of_parameters(old: Json, new: Json, sent: "_Schemas") -> Iterator[str]:
    olds, news = ({(p["in"], p["name"]): p for p in o.get("parameters", [])} for o in (old, new))
    for key, parameter in news.items():
        before, where = olds.get(key), " ".join(key)
        if parameter["required"] and not (before and before["required"]):
            yield f"{where} is required"
        if before:
            yield from sent.faults(before["schema"], parameter["schema"], where)
            if any(before.get(name) != parameter.get(name) for name in ("style", "explode")):
                yield f"{where} is written in another way"
    yield from (f"{' '.join(key)} is gone" for key in olds if key not in news)


def _of_body(old: Json, new: Json, sent: "_Schemas") -> Iterator[str]:
    if new.get("required") and not old.get("required"):
        yield "a body is required"
    yield from _of_content(old, new, "body", sent)


def _of_answers(old: Json, new: Json, got: "_Schemas") -> Iterator[str]:
    for status in sorted(old.keys() ^ new.keys()):
        if status < "400":  # every client has to know what to do with a problem
            yield f"{status} is {'no longer' if status in old else 'also'} an answer"
    for status in sorted(old.keys() & new.keys()):
        before, now = (answer[status].get("headers", {}) for answer in (old, new))
        yield from (f"{status} has no {name}" for name in before if name not in now)
        yield from _of_content(old[status], new[status], status, got)


def _of_content(old: Json, new: Json, where: str, schemas: "_Schemas") -> Iterator[str]:
    now = new.get("content", {})
    for kind, content in old.get("content", {}).items():
        if kind not in now:
            yield f"{where} is no {kind}"
        else:
            yield from schemas.faults(content["schema"], now[kind]["schema"], f"{where} ")


class _Schemas:
    """Compares schemas of two documents.

    What clients send must stay allowed; what they get must stay within what they know.
    """

    def __init__(self, documents: tuple[Json, Json], *, sent: bool) -> None:
        self._old, self._new = documents
        self._sent = sent

    def faults(self, old: Json, new: Json, where: str) -> Iterator[str]:
        olds, news = _options(old, self._old), _options(new, self._new)
        for option in olds if self._sent else news:
            pairs = [(option, n) for n in news] if self._sent else [(o, option) for o in olds]
            found = [list(self._of_option(*pair, where)) for pair in pairs]
            if [] not in found:
                yield from min(found, key=len)

    def _of_option(self, old: Json, new: Json, where: str) -> Iterator[str]:
        before, now = (schema.get("type", "anything") for schema in (old, new))
        if before != now:
            yield f"{where.rstrip()} was {before}, is {now}"
            return
        yield from self._of_values(old, new, where)
        if self._sent:
            yield from _of_limits(old, new, where)
        yield from self._of_properties(old, new, where)
        if "items" in old and "items" in new:
            yield from self.faults(old["items"], new["items"], f"{where}/*")

    def _of_values(self, old: Json, new: Json, where: str) -> Iterator[str]:
        before, now = (s.get("enum", [s["const"]] if "const" in s else None) for s in (old, new))
        if self._sent and now is not None:
            gone = [value for value in before or _ELSE if value not in now]
            yield from (f"{where} must not be {value}" for value in gone)
        if not self._sent and before is not None:
            added = [value for value in now or _ELSE if value not in before]
            yield from (f"{where} may be {value}" for value in added)

    def _of_properties(self, old: Json, new: Json, where: str) -> Iterator[str]:
        before, now = old.get("properties", {}), new.get("properties", {})
        always, needed = set(old.get("required", ())), set(new.get("required", ()))
        if self._sent:
            yield from (f"{where}/{name} is required" for name in sorted(needed - always))
        else:
            rare = sorted((always - needed) & now.keys())
            yield from (f"{where}/{name} may be missing" for name in rare)
        for name, schema in before.items():
            if name in now:
                yield from self.faults(schema, now[name], f"{where}/{name}")
            else:
                yield f"{where}/{name} is gone"


def _options(schema: Json, document: Json) -> list[Json]:
    """What a schema allows one of, without references."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return [found for option in schema["anyOf"] for found in _options(option, document)]
    return [schema]


def _of_limits(old: Json, new: Json, where: str) -> Iterator[str]:
    narrowed = [n for n, none in _LEAST.items() if new.get(n, none) > old.get(n, none)]
    narrowed += [n for n, none in _MOST.items() if new.get(n, none) < old.get(n, none)]
    narrowed += [n for n in _FORM if n in new and new[n] != old.get(n)]
    yield from (f"{where} has the {name} {new[name]}" for name in narrowed)
