"""JSON Schemas (draft 2020-12) of all that is JSON on the wire, from the types that read it."""

import enum
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from edge.contract import described
from edge.policy.document import Policy
from edge.uplink.command_messages import COMMANDS, Ack, Activity, Reply
from edge.uplink.messages import Event, Health, State
from edge.uplink.twin_messages import Reported

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
EVENT_DESCRIPTION = "One event, as CloudEvents 1.0 JSON (structured mode). `type` tells what `data` holds."

PAYLOADS: dict[str, Any] = {
    "state": State,
    "event": Event,
    "health": Health,
    "reported": Reported,
    **{f"command-{name}": kind for name, kind in COMMANDS.items()},
    "reply": Reply,
    "ack": Ack,
    "activity": Activity,
    "policy": Policy,
}
"""The type of each document, by its file's name. `policy` is what the envelope of `config/desired` holds."""


def documents() -> dict[str, Schema]:
    """Return a self-contained schema for each name of PAYLOADS."""
    return {name: _document(name, kind) for name, kind in PAYLOADS.items()}


def components(ref_template: str) -> tuple[dict[str, Schema], dict[str, Schema]]:
    """Return a schema for each name of PAYLOADS, and the named schemas they all refer to."""
    return _described(PAYLOADS, ref_template)


def _document(name: str, kind: object) -> Schema:
    tops, named = _described({name: kind}, "#/$defs/{name}")
    top = tops[name]
    if set(top) == {"$ref"}:  # a single type: its own schema is the document
        top = named.pop(top["$ref"].rpartition("/")[2])
    head: Schema = {"$schema": DIALECT, "title": name, **{k: v for k, v in top.items() if k != "title"}}
    return {**head, "$defs": named} if named else head


def _described(kinds: Mapping[str, Any], ref_template: str) -> tuple[dict[str, Schema], dict[str, Schema]]:
    tops, named = msgspec.json.schema_components(kinds.values(), ref_template=ref_template)
    types = {kind.__name__: kind for kind in _types(msgspec.inspect.multi_type_info(kinds.values()))}
    for name, schema in named.items():
        _describe(schema, types[name])
    every: list[Schema] = [*tops, *named.values()]
    for schema in every:
        _walk(schema, _as_ecma)
        _walk(schema, _as_constant)
        _walk(schema, _as_written)
        _walk(schema, lambda part: part.pop("discriminator", None))  # OpenAPI's word, not JSON Schema's
    by_name = dict(zip(kinds, tops, strict=True))
    if "event" in by_name:
        by_name["event"] = {"description": EVENT_DESCRIPTION, **by_name["event"]}
    return by_name, {name: named[name] for name in sorted(named)}


def _describe(schema: Schema, kind: type) -> None:
    """Put in the docstrings: the class's as flowing text, and those of fields and members."""
    schema["description"] = described.flowing(kind.__doc__ or "")
    if issubclass(kind, enum.Enum):
        told = described.members(kind)
        lines = [f"- `{value}`: {text}" if text else f"- `{value}`" for value, text in told.items()]
        schema["description"] = "\n".join([schema["description"], "", *lines])
        schema["enum"] = list(told)
    elif issubclass(kind, msgspec.Struct):
        for field, text in described.fields(kind).items():
            part = schema["properties"][field]
            part["description"] = f"{text} {part['description']}" if "description" in part else text


def _as_ecma(part: Schema) -> None:
    r"""Write a pattern as JSON Schema wants it: `\Z` is Python's word for what ECMA-262 calls `$`."""
    if isinstance(part.get("pattern"), str):
        part["pattern"] = part["pattern"].replace(r"\Z", "$")


def _as_written(part: Schema) -> None:
    """Write whole numbers as such: Python takes two types for one that differ in `0` and `0.0` alone."""
    for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        if isinstance(part.get(key), float) and part[key].is_integer():
            part[key] = int(part[key])


def _as_constant(part: Schema) -> None:
    values = part.get("enum")
    if isinstance(values, list) and len(values) == 1:
        part["const"] = values[0]
        del part["enum"]


def _walk(schema: object, change: Callable[[Schema], object]) -> None:
    """Change every schema in a schema. The names of properties and definitions are none."""
    if isinstance(schema, list):
        for item in schema:
            _walk(item, change)
    elif isinstance(schema, dict):
        change(schema)
        for key, value in schema.items():
            if key in ("properties", "$defs"):
                for part in value.values():
                    _walk(part, change)
            elif key not in ("default", "enum", "const"):
                _walk(value, change)


def _types(info: object) -> Iterator[type]:
    """Give every struct and enum in a type, as `msgspec.inspect` tells it."""
    seen: set[type] = set()
    waiting: list[object] = [info]
    while waiting:
        part = waiting.pop()
        if isinstance(part, msgspec.inspect.StructType | msgspec.inspect.EnumType):
            if part.cls in seen:
                continue
            seen.add(part.cls)
            yield part.cls
        if isinstance(part, msgspec.Struct):
            waiting += [getattr(part, name) for name in part.__struct_fields__]
        elif isinstance(part, list | tuple):
            waiting += part


def as_draft_07(schema: Schema) -> Schema:
    """Return a schema in draft 7, which AsyncAPI's tools read.

    There, what stands beside a `$ref` is ignored, and a tuple is an `items` that is a list.
    """
    old: Schema = msgspec.json.decode(msgspec.json.encode(schema))
    _walk(old, _one_in_draft_07)
    return old


def _one_in_draft_07(part: Schema) -> None:
    if "$ref" in part and len(part) > 1:
        part["allOf"] = [{"$ref": part.pop("$ref")}]
    if "prefixItems" in part:
        part["items"], part["additionalItems"] = part.pop("prefixItems"), False
